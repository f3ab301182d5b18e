//! A trial for people.

use std::fmt::Write as _;

use reeve_policy::PolicyVersion;

use super::{Change, Cut, Hit, Trial};

/// So many steps of one hit are written out.
const STEPS: usize = 8;

/// The trial as text: who, by which clause, the steps with their times, and what they would cut.
#[must_use]
pub fn table(trial: &Trial) -> String {
    let mut text = String::new();
    let name = |policy: &PolicyVersion| format!("{}@{}", policy.name, policy.version);
    let against = trial.against.as_ref().map_or_else(|| "what ran then".to_owned(), name);
    let span = match (trial.from, trial.to) {
        (Some(from), Some(to)) => format!(" from {from} to {to}"),
        _ => String::new(),
    };
    let _ = writeln!(text, "{} against {against}: {} frames{span}", name(&trial.candidate), trial.frames);
    let all = &trial.comparison;
    section(&mut text, "NEWLY HIT", &all.newly);
    section(&mut text, "NO LONGER HIT", &all.no_longer);
    section(&mut text, "HIT OTHERWISE", &all.differently);
    let nobody = if trial.differs() { "" } else { "nobody is hit otherwise; " };
    let _ = writeln!(text, "\n{nobody}{} hit in the same way", all.same);
    for note in &trial.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn section(text: &mut String, title: &str, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for change in changes {
        let differs: Vec<&str> = change.differs.iter().map(|one| one.name()).collect();
        let differs = if differs.is_empty() { String::new() } else { format!("  ({})", differs.join(", ")) };
        let _ = writeln!(text, "  {}  {}{differs}", change.tenant, change.family);
        let is_both = change.before.is_some() && change.after.is_some();
        for (label, hit) in [("now", &change.before), ("then", &change.after)] {
            if let Some(hit) = hit {
                let label = if is_both { format!("{label}: ") } else { String::new() };
                of_hit(text, &label, hit);
            }
        }
    }
}

fn of_hit(text: &mut String, label: &str, hit: &Hit) {
    let clauses: Vec<&str> = hit.clauses.iter().map(String::as_str).collect();
    let plural = if hit.violations == 1 { "violation" } else { "violations" };
    let _ = writeln!(text, "    {label}{}, {} {plural}", clauses.join(", "), hit.violations);
    for step in hit.steps.iter().take(STEPS) {
        let _ = writeln!(text, "      {}  step {}, {}", step.at, step.step, step.told());
    }
    if let Some(next) = hit.steps.last().and_then(|step| step.next.as_ref()).filter(|_| hit.more_steps == 0) {
        let _ = writeln!(text, "      next, if it goes on: {} at {} or later", next.told, next.at);
    }
    let more = hit.steps.len().saturating_sub(STEPS) as u64 + hit.more_steps;
    if more > 0 {
        let _ = writeln!(text, "      and {more} more, the last at {}", hit.last);
    }
    if hit.cut != Cut::default() {
        let _ = writeln!(text, "      {}", cut(&hit.cut));
    }
}

fn cut(cut: &Cut) -> String {
    let mut parts = Vec::new();
    if cut.packets > 0 {
        parts.push(format!("cuts {} packets, {} bytes", cut.packets, cut.bytes));
    }
    if cut.limited_packets > 0 {
        parts.push(format!("limits {} packets, {} bytes", cut.limited_packets, cut.limited_bytes));
    }
    format!("{}, to {} targets", parts.join("; "), cut.targets)
}
