//! What a mail server said that was asked whether it is an open relay.

use std::fmt::Write as _;
use std::net::IpAddr;

use reeve_policy::CheckVerdict;
use reeve_proto::operator::v1::VerifyResponse;
use reeve_proto::operator::v1::node_order::State;
use reeve_proto::types::v1::RelayChecked;

use super::when;

/// The codes, a line each, and what they come to.
pub fn relay(
    tenant: &str,
    server: IpAddr,
    verdict: CheckVerdict,
    steps: &[(String, u16)],
    trouble: Option<&str>,
    is_told: bool,
) -> String {
    let mut text = format!("{server} of {tenant}\n");
    for (step, code) in steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {step:<10} {code}");
    }
    if let Some(trouble) = trouble {
        let _ = writeln!(text, "  {trouble}");
    }
    text += match verdict {
        CheckVerdict::Accepted => "it takes strangers' mail for others\n",
        CheckVerdict::Refused => "it refuses strangers' mail for others\n",
        CheckVerdict::Deferred => "it asks to come again later\n",
        CheckVerdict::Unclear => "it did not answer the question\n",
        CheckVerdict::Unreachable => "it did not answer\n",
        CheckVerdict::NotAsked => "it was not asked\n",
    };
    text + match (verdict, is_told) {
        (CheckVerdict::Refused, true) => {
            "the node was told: what stands until it is found closed is lifted\n"
        }
        (CheckVerdict::Accepted, true) => "the node was told\n",
        (CheckVerdict::Refused, false) => "nothing is lifted for that: the server may know who asked\n",
        _ => "",
    }
}

/// What came of having a tenant's mail server asked.
pub fn verified(tenant: &str, answer: &VerifyResponse) -> String {
    if let Some(checked) = &answer.relay_checked {
        return format!("{}\n", last_check(checked));
    }
    let mut text = format!("{tenant}: its mail server has not answered yet\n");
    for node in answer.nodes.iter().filter(|node| node.state() == State::Failed) {
        let _ = writeln!(text, "  {}: {}", node.node, node.detail);
    }
    text
}

/// What a mail server said when it was last asked, in a line.
pub fn last_check(checked: &RelayChecked) -> String {
    let at = when(checked.time);
    match reeve_policy::RelayChecked::try_from(checked.clone()) {
        Ok(checked) => format!("checked {at}  {}", checked.line()),
        Err(_) => format!("checked {at}  the answer cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_lines() {
        let steps = [("greeting".to_owned(), 220), ("RCPT TO".to_owned(), 554)];
        let server = IpAddr::from([203, 0, 113, 10]);
        let told = relay("alice", server, CheckVerdict::Refused, &steps, None, true);
        let expected = "203.0.113.10 of alice\n  greeting   220\n  RCPT TO    554\nit refuses strangers' mail for others\n\
                        the node was told: what stands until it is found closed is lifted\n";
        assert_eq!(told, expected);
    }
}
