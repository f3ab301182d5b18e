//! Metrics held against the list that people have of them: names are a promise to whoever made dashboards and alerts of them.
//!
//! The list is a table in Markdown, ``| `name` | type | `label`, `label` | what it says |``. It is compared with what is encoded, so a family is
//! seen only if it has a sample.

use std::collections::BTreeMap;

use prometheus_client::registry::Registry;

/// The type of a metric, and its labels, sorted.
type Shape = (String, Vec<String>);

/// What is wrong with the names of a registry's metrics that begin with `prefix`, held against a document: what one of them lacks, what differs,
/// and what Prometheus advises against.
#[must_use]
pub fn compare(registry: &Registry, prefix: &str, document: &str) -> Vec<String> {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        return vec!["the metrics cannot be written".to_owned()];
    }
    let (told, listed) = (encoded(&text), listed(document, prefix));
    let mut wrong = Vec::new();
    for (name, shape) in &told {
        match listed.get(name) {
            None => wrong.push(format!("not listed: | `{name}` | {} | {} |", shape.0, shape.1.join(", "))),
            Some(listed) if listed != shape => wrong.push(format!("{name}: {shape:?}, listed as {listed:?}")),
            Some(_) => {}
        }
        wrong.extend(unsound(name, prefix, shape));
    }
    wrong.extend(
        listed.keys().filter(|name| !told.contains_key(*name)).map(|name| format!("not there: {name}")),
    );
    wrong
}

/// By prometheus.io/docs/practices/naming; and no label that names one of many.
fn unsound(name: &str, prefix: &str, (kind, labels): &Shape) -> Option<String> {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let scaled =
        ["_ms", "_us", "_ns", "_minutes", "_hours", "_days", "_kib", "_mib", "_kb", "_mb", "_percent"];
    let many = ["tenant", "node", "address", "interface", "customer", "peer"];
    let why = if !name.starts_with(prefix) {
        "it lacks the prefix"
    } else if !name.chars().all(is_plain) {
        "its name has other letters than a-z, 0-9 and _"
    } else if (kind == "counter") != name.ends_with("_total") {
        "counters, and they alone, end in _total"
    } else if scaled.iter().any(|unit| name.trim_end_matches("_total").ends_with(unit)) {
        "its unit is no base unit"
    } else if labels.iter().any(|label| many.contains(&label.as_str())) {
        "a label names one of many"
    } else {
        return None;
    };
    Some(format!("{name}: {why}"))
}

/// What is encoded, as names with their types and labels.
fn encoded(text: &str) -> BTreeMap<String, Shape> {
    let mut kinds = BTreeMap::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
            let family = ["_total", "_info"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let kind = kinds.get(name).or_else(|| kinds.get(family)).cloned().unwrap_or_default();
            found.insert(name.to_owned(), (kind, labels(rest)));
        }
    }
    found
}

/// The names of the labels of a sample. No value of ours holds a comma or an equals sign.
fn labels(rest: &str) -> Vec<String> {
    let inside =
        rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
    let mut names: Vec<String> =
        inside.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect();
    names.sort();
    names
}

/// What a document lists.
fn listed(document: &str, prefix: &str) -> BTreeMap<String, Shape> {
    let begin = format!("| `{prefix}");
    let rows = document.lines().filter(|line| line.starts_with(&begin));
    rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`').to_owned();
        let kind = cells.next()?.to_owned();
        let mut labels: Vec<String> =
            cells.next()?.split(',').map(|label| label.trim().trim_matches('`').to_owned()).collect();
        labels.retain(|label| !label.is_empty());
        labels.sort();
        Some((name, (kind, labels)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn what_differs_is_named_whichever_side_lacks_it() {
        let mut registry = Registry::with_prefix("x");
        let family = Family::<Vec<(String, String)>, Counter>::default();
        family.get_or_create(&vec![("tenant".into(), "alice".into()), ("kind".into(), "a".into())]).inc();
        registry.register("things", "Things", family);
        registry.register("wait_ms", "A wait", Gauge::<i64>::default());
        registry.register("fine", "Fine", Gauge::<i64>::default());
        let document = "| `x_fine` | gauge |  | fine |\n| `x_things_total` | counter | `kind` | |\n| `x_gone` | gauge | | |\n";
        let wrong = compare(&registry, "x_", document).join("; ");
        for words in [
            "x_things_total: (\"counter\", [\"kind\", \"tenant\"]), listed as (\"counter\", [\"kind\"])",
            "x_things_total: a label names one of many",
            "not listed: | `x_wait_ms` | gauge |  |",
            "x_wait_ms: its unit is no base unit",
            "not there: x_gone",
        ] {
            assert!(wrong.contains(words), "{words}: {wrong}");
        }
        assert!(!wrong.contains("x_fine"), "{wrong}");
    }
}
