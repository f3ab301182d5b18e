//! What a mail server said that was asked whether it is an open relay.

use std::fmt::Write as _;
use std::net::IpAddr;

use reeve_policy::CheckVerdict;

/// The codes, a line each, and what they come to.
pub fn relay(
    tenant: &str,
    server: IpAddr,
    verdict: CheckVerdict,
    steps: &[(String, u16)],
    trouble: Option<&str>,
) -> String {
    let mut text = format!("{server} of {tenant}\n");
    for (step, code) in steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {step:<10} {code}");
    }
    if let Some(trouble) = trouble {
        let _ = writeln!(text, "  {trouble}");
    }
    text + match verdict {
        CheckVerdict::Accepted => "it takes strangers' mail for others\n",
        CheckVerdict::Refused => "it refuses strangers' mail for others\n",
        CheckVerdict::Deferred => "it asks to come again later\n",
        CheckVerdict::Unclear => "it did not answer the question\n",
        CheckVerdict::Unreachable => "it did not answer\n",
        CheckVerdict::NotAsked => "it was not asked\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_lines() {
        let steps = [("greeting".to_owned(), 220), ("RCPT TO".to_owned(), 554)];
        let server = IpAddr::from([203, 0, 113, 10]);
        let told = relay("alice", server, CheckVerdict::Refused, &steps, None);
        let expected = "203.0.113.10 of alice\n  greeting   220\n  RCPT TO    554\nit refuses strangers' mail for others\n";
        assert_eq!(told, expected);
    }
}
