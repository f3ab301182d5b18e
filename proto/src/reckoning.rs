//! What decisions were reckoned from. It explains and decides nothing, so what cannot be read of it is left out and refuses nothing.

use std::time::Duration;

use reeve_policy::language::History;
use reeve_policy::reckoning::{Before, Cause, Condition, HeldTo, Near, Otherwise, Reckoning, Whence, WhyNot};

use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{clip, duration, duration_to_wire, list, text, time_or_none, time_to_wire};
use crate::tenant::profile;
use crate::{MAX_METRICS, MAX_STEPS};

impl From<&Reckoning> for wire::Reckoning {
    fn from(reckoning: &Reckoning) -> Self {
        let history = &reckoning.history;
        Self {
            class: reckoning.class.name().to_owned(),
            profile: wire::Profile::from(reckoning.profile).into(),
            numbers: reckoning.numbers.iter().take(MAX_METRICS).map(Into::into).collect(),
            window: Some(reckoning.window).filter(|span| !span.is_zero()).map(duration_to_wire),
            also: reckoning.also.iter().take(MAX_METRICS).map(|clause| clip(clause)).collect(),
            strikes: history.strikes,
            since_last: history.since_last.map(duration_to_wire),
            known_offender: history.is_known_offender,
            times: history.times,
            faded: reckoning.faded,
            memory: Some(duration_to_wire(reckoning.memory)),
            ladder: reckoning.ladder.iter().take(MAX_STEPS).map(|step| clip(step)).collect(),
            cause: reckoning.cause.name().to_owned(),
            before_step: reckoning.before.map_or(0, |before| before.step),
            before_time: reckoning.before.map(|before| time_to_wire(before.at)),
            next_time: reckoning.next.map(time_to_wire),
            observed_by: reckoning.observed_by.iter().take(MAX_STEPS).map(|who| clip(who)).collect(),
            spared: reckoning.spared,
            otherwise: reckoning.otherwise.iter().take(MAX_METRICS).map(Into::into).collect(),
            near: reckoning.near.iter().take(MAX_METRICS).map(Into::into).collect(),
        }
    }
}

impl From<&Near> for wire::reckoning::Near {
    fn from(near: &Near) -> Self {
        let mut told = Self { exemption: clip(&near.exemption), would_do: near.would_do, ..Self::default() };
        let why = match near.why {
            WhyNot::Over { at } => {
                told.time = Some(time_to_wire(at));
                "over"
            }
            WhyNot::NotYet { at } => {
                told.time = Some(time_to_wire(at));
                "not-yet"
            }
            WhyNot::NotListed { listed, named } => {
                (told.listed, told.named) = (listed, named);
                "not-listed"
            }
            WhyNot::NoTargets => "no-targets",
            WhyNot::OtherClause => "other-clause",
        };
        why.clone_into(&mut told.why);
        told
    }
}

impl From<&HeldTo> for wire::reckoning::HeldTo {
    fn from(held: &HeldTo) -> Self {
        let from = held.from.name().to_owned();
        Self { name: clip(&held.name), seen: held.seen, limit: held.limit, from, common: held.common }
    }
}

impl From<&Otherwise> for wire::reckoning::Otherwise {
    fn from(one: &Otherwise) -> Self {
        let mut told = Self { step: one.step.unwrap_or_default(), ..Self::default() };
        let kind = match one.condition {
            Condition::Below => "below",
            Condition::Profile { profile, limit } => {
                told.set_profile(profile.into());
                told.number = limit;
                "profile"
            }
            Condition::FirstStrike => "first-strike",
            Condition::NotSoon { within } => {
                told.within = Some(duration_to_wire(within));
                "not-soon"
            }
            Condition::NotKnown => "not-known",
            Condition::Milder { times } => {
                told.number = times;
                "milder"
            }
            Condition::Graver { times } => {
                told.number = times;
                "graver"
            }
            Condition::Ended => "ended",
            Condition::NotSoftened => "not-softened",
            Condition::Enforced => "enforced",
            Condition::NextStrike => "next-strike",
        };
        kind.clone_into(&mut told.kind);
        told
    }
}

/// What can be read of it.
pub(crate) fn reckoning(told: wire::Reckoning) -> Option<Reckoning> {
    read(told).ok().flatten()
}

/// `None` for what a newer agent means by words that are not known here.
fn read(told: wire::Reckoning) -> Result<Option<Reckoning>, WireError> {
    let span = |told: Option<prost_types::Duration>| {
        told.map_or(Ok(Duration::ZERO), |told| duration("duration", told))
    };
    let Some(cause) = Cause::ALL.into_iter().find(|cause| cause.name() == told.cause) else {
        return Ok(None);
    };
    let Ok(class) = told.class.parse() else { return Ok(None) };
    let words = |field: &str, words, most| list(field, words, most, |word| text("word", word));
    let before = time_or_none("before_time", told.before_time)?;
    let numbers = told.numbers.into_iter().take(MAX_METRICS).filter_map(held_to);
    Ok(Some(Reckoning {
        class,
        profile: profile("profile", told.profile)?,
        numbers: numbers.collect(),
        window: span(told.window)?,
        also: words("also", told.also, MAX_METRICS)?,
        history: History {
            strikes: told.strikes,
            since_last: told.since_last.map(|since| duration("since_last", since)).transpose()?,
            is_known_offender: told.known_offender,
            times: told.times,
        },
        faded: told.faded,
        memory: span(told.memory)?,
        ladder: words("ladder", told.ladder, MAX_STEPS)?,
        cause,
        before: before.filter(|_| told.before_step > 0).map(|at| Before { step: told.before_step, at }),
        next: time_or_none("next_time", told.next_time)?,
        observed_by: words("observed_by", told.observed_by, MAX_STEPS)?,
        spared: told.spared,
        near: told.near.into_iter().take(MAX_METRICS).filter_map(near).collect(),
        otherwise: told.otherwise.into_iter().take(MAX_METRICS).filter_map(otherwise).collect(),
    }))
}

fn held_to(told: wire::reckoning::HeldTo) -> Option<HeldTo> {
    let from = Whence::ALL.into_iter().find(|whence| whence.name() == told.from)?;
    let name = text("name", told.name).ok()?;
    Some(HeldTo { name, seen: told.seen, limit: told.limit, from, common: told.common })
}

fn near(told: wire::reckoning::Near) -> Option<Near> {
    let at = || time_or_none("time", told.time).ok().flatten();
    let why = match told.why.as_str() {
        "over" => WhyNot::Over { at: at()? },
        "not-yet" => WhyNot::NotYet { at: at()? },
        "not-listed" => WhyNot::NotListed { listed: told.listed, named: told.named },
        "no-targets" => WhyNot::NoTargets,
        "other-clause" => WhyNot::OtherClause,
        _ => return None,
    };
    Some(Near { why, would_do: told.would_do, exemption: text("exemption", told.exemption).ok()? })
}

fn otherwise(told: wire::reckoning::Otherwise) -> Option<Otherwise> {
    let condition = match told.kind.as_str() {
        "below" => Condition::Below,
        "profile" => {
            Condition::Profile { profile: profile("profile", told.profile).ok()?, limit: told.number }
        }
        "first-strike" => Condition::FirstStrike,
        "not-soon" => Condition::NotSoon { within: duration("within", told.within?).ok()? },
        "not-known" => Condition::NotKnown,
        "milder" => Condition::Milder { times: told.number },
        "graver" => Condition::Graver { times: told.number },
        "ended" => Condition::Ended,
        "not-softened" => Condition::NotSoftened,
        "enforced" => Condition::Enforced,
        "next-strike" => Condition::NextStrike,
        _ => return None,
    };
    Some(Otherwise { condition, step: Some(told.step).filter(|step| *step > 0) })
}

#[cfg(test)]
mod tests {
    use reeve_policy::{Class, Profile, Timestamp};

    use super::*;

    fn full() -> Reckoning {
        let at = Timestamp::from_secs(1_700_000_000);
        let hour = Duration::from_secs(3_600);
        let conditions = [
            Condition::Below,
            Condition::Profile { profile: Profile::Mail, limit: 600.0 },
            Condition::FirstStrike,
            Condition::NotSoon { within: hour },
            Condition::NotKnown,
            Condition::Milder { times: 10.0 },
            Condition::Graver { times: 20.5 },
            Condition::Ended,
            Condition::NotSoftened,
            Condition::Enforced,
            Condition::NextStrike,
        ];
        let numbers = Whence::ALL.into_iter().map(|from| HeldTo {
            name: "hosts".into(),
            seen: 40.0,
            limit: 25.0,
            from,
            common: (from == Whence::Profile).then_some(20.0),
        });
        let steps = (0_u32..).map(|step| Some(step).filter(|step| *step > 0));
        let otherwise = conditions.into_iter().zip(steps);
        Reckoning {
            class: Class::PortscanHorizontal,
            profile: Profile::Web,
            numbers: numbers.collect(),
            window: hour,
            also: vec!["x/attack".into()],
            history: History { strikes: 3, since_last: Some(hour), is_known_offender: true, times: 1.6 },
            faded: 2,
            memory: hour * 24,
            ladder: vec!["notify".into(), "suspend all until released".into()],
            cause: Cause::WentOn,
            before: Some(Before { step: 1, at }),
            next: Some(at),
            observed_by: vec!["node".into()],
            spared: 1,
            near: [
                WhyNot::Over { at },
                WhyNot::NotYet { at },
                WhyNot::NotListed { listed: 1, named: 2 },
                WhyNot::NoTargets,
                WhyNot::OtherClause,
            ]
            .map(|why| Near {
                exemption: "x/scan, by ticket 1".into(),
                why,
                would_do: why == WhyNot::NoTargets,
            })
            .into(),
            otherwise: otherwise.map(|(condition, step)| Otherwise { condition, step }).collect(),
        }
    }

    #[test]
    fn all_of_it_comes_over() {
        let told = full();
        assert_eq!(reckoning((&told).into()), Some(told));
        for cause in Cause::ALL {
            let told = Reckoning { cause, before: None, next: None, window: Duration::ZERO, ..full() };
            assert_eq!(reckoning((&told).into()), Some(told));
        }
    }

    #[test]
    fn what_is_not_known_here_is_left_out_and_refuses_nothing() {
        let mut wire = wire::Reckoning::from(&full());
        wire.otherwise[0].kind = "something new".into();
        wire.numbers[0].from = "elsewhere".into();
        wire.near[0].why = "something new".into();
        let read = reckoning(wire.clone()).unwrap();
        assert_eq!((read.otherwise.len(), read.numbers.len(), read.near.len()), (10, 4, 4));
        wire.cause = "something new".into();
        assert_eq!(reckoning(wire), None);
    }
}
