//! Bulk TCP through an observed interface against an unobserved one, interleaved.

use std::time::Duration;

use serde_json::Value;

use super::{Figure, LIMIT, median};
use crate::house::House;
use crate::lab::Lab;
use crate::lab::addresses::SPEED_V4;

const ROUNDS: usize = 11;

pub(super) fn run() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (what, lab) in [("offloads on, as on a node", Lab::up_with_offloads()?), ("offloads off", Lab::up()?)]
    {
        let mut house = House::open_in_mode(lab, "observe")?;
        let server = house.lab.iperf3_server()?;
        house.stop_agent()?;
        let (mut observed, mut plain) = (Vec::new(), Vec::new());
        // The first run warms up.
        gigabits(&house)?;
        // Now the one is first and now the other, so that a machine that grows slower or faster favours neither.
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                plain.push(gigabits(&house)?);
            }
            house.start_agent()?;
            observed.push(gigabits(&house)?);
            house.stop_agent()?;
            if round % 2 == 1 {
                plain.push(gigabits(&house)?);
            }
        }
        drop(server);
        let ratios = observed.iter().zip(&plain).map(|(observed, plain)| observed / plain).collect();
        let (observed, plain, ratio) = (median(observed), median(plain), median(ratios));
        let seen = format!("{:.1} % ({observed:.1} of {plain:.1} Gbit/s)", ratio * 100.0);
        figures.push(Figure::new(
            format!("iperf3, observed against unobserved, {what}"),
            seen,
            ">= 97 %",
            ratio >= 0.97,
        ));
    }
    Ok(figures)
}

fn gigabits(house: &House) -> anyhow::Result<f64> {
    let speed = SPEED_V4.to_string();
    let argv = ["iperf3", "--client", &speed, "--time", "4", "--omit", "1", "--json"];
    let finished = house.lab.alice.run(&argv, LIMIT.min(Duration::from_secs(30)))?.success()?;
    let answer: Value = serde_json::from_str(&finished.stdout)?;
    Ok(answer["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9)
}
