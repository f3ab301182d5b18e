//! A score as text for people.

use std::fmt::Write as _;

use super::{Expectation, RowScore, Score, Verdict};

/// Sums per class, then every row that is not as it should be.
#[must_use]
pub fn table(score: &Score) -> String {
    let mut text = format!(
        "{:<16}{:>9}{:>7}{:>8}{:>7}{:>11}{:>10}{:>12}{:>11}{:>10}\n",
        "class",
        "captures",
        "found",
        "missed",
        "wrong",
        "suspected",
        "optional",
        "detect (s)",
        "worst (s)",
        "attempts"
    );
    let number = |number: Option<f64>, digits: usize| {
        number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
    };
    // Writing to a String cannot fail.
    for (class, sums) in &score.summary.classes {
        let _ = writeln!(
            text,
            "{class:<16}{:>9}{:>7}{:>8}{:>7}{:>11}{:>10}{:>12}{:>11}{:>10}",
            sums.captures,
            sums.found,
            sums.missed,
            sums.wrong_class,
            sums.only_suspected,
            sums.optional_found,
            number(sums.detect_median_s, 2),
            number(sums.detect_worst_s, 2),
            number(sums.attempts_median, 0),
        );
    }
    let benign = score.rows.iter().filter(|row| row.expectation == Expectation::Benign).count();
    let sums = &score.summary;
    let _ = writeln!(
        text,
        "{:<16}{benign:>9}  {} false alarms, {} suspected",
        "benign", sums.false_alarms, sums.benign_suspected
    );
    score.rows.iter().for_each(|row| amiss(&mut text, row));
    let _ = writeln!(
        text,
        "found {}, missed {} ({} under a wrong class, {} only suspected), false alarms {}, optional found {}",
        sums.found,
        sums.missed,
        sums.wrong_class,
        sums.only_suspected,
        sums.false_alarms,
        sums.optional_found
    );
    text
}

/// A row that is not as it should be.
fn amiss(text: &mut String, row: &RowScore) {
    let word = match row.verdict {
        Verdict::Missed => "missed",
        Verdict::WrongClass => "wrong class",
        Verdict::Suspected => "suspected",
        Verdict::FalseAlarm => "false alarm",
        Verdict::NotFound => "not found",
        Verdict::Silent if !row.suspected.is_empty() => "suspected",
        Verdict::Found | Verdict::Silent => return,
    };
    let told = row.alerts.iter().map(|class| class.name().to_owned());
    let suspected = row.suspected.iter().map(|class| format!("({class}?)"));
    let told: Vec<String> = told.chain(suspected).collect();
    let _ = writeln!(text, "{word:<12} {:<14} {} {}", row.class, row.file, told.join(" "));
}
