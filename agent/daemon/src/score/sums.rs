//! The sums of a score, over all and by class.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Expectation, RowScore, Verdict};

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Abusive captures that must (or may be suspected to) be found, and were.
    pub found: usize,
    /// Those that were not, whatever else was told.
    pub missed: usize,
    /// Of those, where something else was told.
    pub wrong_class: usize,
    /// Of those, where it was only suspected.
    pub only_suspected: usize,
    /// Benign captures that were acted upon.
    pub false_alarms: usize,
    /// Benign captures of which something was suspected.
    pub benign_suspected: usize,
    /// Optional ones that were found.
    pub optional_found: usize,
    /// By the manifest's class.
    pub classes: BTreeMap<String, ClassSums>,
}

/// The sums of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClassSums {
    /// Captures of it.
    pub captures: usize,
    /// Those that must be found or suspected, and were.
    pub found: usize,
    /// Those that were not.
    pub missed: usize,
    /// Of those, where something else was told.
    pub wrong_class: usize,
    /// Of those, where it was only suspected.
    pub only_suspected: usize,
    /// Optional ones that were found.
    pub optional_found: usize,
    /// The median time to detect, in seconds.
    pub detect_median_s: Option<f64>,
    /// The longest.
    pub detect_worst_s: Option<f64>,
    /// The median of the attempts used.
    pub attempts_median: Option<f64>,
    /// The most.
    pub attempts_worst: Option<f64>,
}

impl Summary {
    pub(super) fn of(rows: &[RowScore]) -> Self {
        let mut sums = Self::default();
        let benign = |row: &&RowScore| row.expectation == Expectation::Benign;
        sums.false_alarms = rows.iter().filter(|row| row.verdict == Verdict::FalseAlarm).count();
        sums.benign_suspected = rows.iter().filter(benign).filter(|row| !row.suspected.is_empty()).count();
        for row in rows.iter().filter(|row| !benign(row)) {
            sums.classes.entry(row.class.clone()).or_default().captures += 1;
        }
        for (class, one) in &mut sums.classes {
            one.fill(rows.iter().filter(|row| row.class == *class).collect());
            sums.found += one.found;
            sums.missed += one.missed;
            sums.wrong_class += one.wrong_class;
            sums.only_suspected += one.only_suspected;
            sums.optional_found += one.optional_found;
        }
        sums
    }
}

impl ClassSums {
    fn fill(&mut self, rows: Vec<&RowScore>) {
        for row in &rows {
            match row.verdict {
                Verdict::Found if row.expectation == Expectation::Optional => self.optional_found += 1,
                Verdict::Found => self.found += 1,
                Verdict::Missed => self.missed += 1,
                Verdict::WrongClass => {
                    (self.missed, self.wrong_class) = (self.missed + 1, self.wrong_class + 1)
                }
                Verdict::Suspected => {
                    (self.missed, self.only_suspected) = (self.missed + 1, self.only_suspected + 1);
                }
                Verdict::NotFound | Verdict::Silent | Verdict::FalseAlarm => {}
            }
        }
        (self.detect_median_s, self.detect_worst_s) =
            median_and_worst(rows.iter().filter_map(|row| row.detect_s).collect());
        (self.attempts_median, self.attempts_worst) =
            median_and_worst(rows.iter().filter_map(|row| row.attempts).collect());
    }
}

/// The lower median, and the greatest.
fn median_and_worst(mut numbers: Vec<f64>) -> (Option<f64>, Option<f64>) {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len().saturating_sub(1) / 2;
    (numbers.get(middle).copied(), numbers.last().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_number_that_was_seen() {
        assert_eq!(median_and_worst(vec![]), (None, None));
        assert_eq!(median_and_worst(vec![3.0]), (Some(3.0), Some(3.0)));
        assert_eq!(median_and_worst(vec![4.0, 1.0, 2.0, 9.0]), (Some(2.0), Some(9.0)));
    }
}
