//! What became of an act on several tenants.

use reeve_proto::operator::v1::NodeOrder;
use reeve_proto::operator::v1::node_order::State;

use super::{cells, table};
use crate::acts::Row;

/// So many nodes are named; more are counted.
const NAMED: usize = 5;

pub fn rows(rows: &[Row], done: &str) -> String {
    let mut lines = vec![cells(["TENANT", "WHAT"])];
    lines.extend(rows.iter().map(|row| vec![row.tenant.clone(), outcome(row, done)]));
    table(&lines)
}

fn outcome(row: &Row, done: &str) -> String {
    if let Some((_, message)) = &row.error {
        return format!("not done: {message}");
    }
    if row.nodes.is_empty() {
        return "stored; no node has ever connected".to_owned();
    }
    let of =
        |state: State| -> Vec<&NodeOrder> { row.nodes.iter().filter(|node| node.state() == state).collect() };
    // Those that are left out did it, but for a fleet in which more did not than one is told of.
    let omitted = row.nodes_omitted as usize;
    let mut told = Vec::new();
    if row.ended == Some(0) {
        told.push("nothing held it".to_owned());
    } else if let all @ [_, ..] = of(State::Done).as_slice() {
        told.push(format!("{done} on {}", which(all, omitted)));
    } else if omitted > 0 {
        told.push(format!("{omitted} nodes more"));
    }
    for node in of(State::Failed) {
        told.push(format!("failed on {}: {}", node.node, node.detail));
    }
    for (state, word) in [
        (State::Sent, "no answer yet from"),
        (State::Stored, "stored for"),
        (State::Superseded, "superseded on"),
    ] {
        if let all @ [_, ..] = of(state).as_slice() {
            told.push(format!("{word} {}", which(all, 0)));
        }
    }
    match row.forgiven {
        Some(1) => told.push("1 strike taken back".to_owned()),
        Some(many) if many > 1 => told.push(format!("{many} strikes taken back")),
        _ => {}
    }
    told.join("; ")
}

fn which(nodes: &[&NodeOrder], omitted: usize) -> String {
    if nodes.len() + omitted > NAMED {
        return format!("{} nodes", nodes.len() + omitted);
    }
    let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_a_line() {
        let node = |name: &str, state: State, detail: &str| NodeOrder {
            node: name.into(),
            state: state.into(),
            detail: detail.into(),
        };
        let row = |tenant: &str, nodes| Row { tenant: tenant.into(), nodes, ..Row::default() };
        let many = (0..9).map(|number| node(&format!("n{number}"), State::Done, "")).collect();
        let all = [
            row("a", vec![node("n1", State::Done, ""), node("n2", State::Done, "")]),
            row("b", vec![node("n1", State::Done, ""), node("n2", State::Stored, "")]),
            row("c", vec![node("n1", State::Failed, "no room"), node("n2", State::Sent, "")]),
            row("d", many),
            row("e", Vec::new()),
            Row {
                error: Some(("TENANT_NOT_FOUND".into(), "there is no tenant f".into())),
                ..row("f", vec![])
            },
            Row { ended: Some(0), ..row("g", vec![node("n1", State::Done, "")]) },
        ];
        insta::assert_snapshot!(rows(&all, "suspended"), @r"
        TENANT  WHAT
        a       suspended on n1, n2
        b       suspended on n1; stored for n2
        c       failed on n1: no room; no answer yet from n2
        d       suspended on 9 nodes
        e       stored; no node has ever connected
        f       not done: there is no tenant f
        g       nothing held it
        ");
    }
}
