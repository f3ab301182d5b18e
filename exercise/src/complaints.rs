//! Abuse reports: mails and JSON as anybody may send them.
//!
//! The first byte of a case says what the others are: a mail if it is even, JSON if it is odd.

use reeve_policy::Timestamp;
use reeve_reports::{
    Found, MAX_COMPLAINT_BYTES, MAX_FIELDS, MAX_LIST, MAX_REPORTS, Reading, Refused, Sealed, answer_to,
    read_json, read_mail,
};

/// When a case was received.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The longest detail of a refusal, in characters.
const MAX_DETAIL: usize = 200;

/// A report before its reader.
pub(crate) fn read(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let once = || if how.is_multiple_of(2) { read_mail(bytes, NOW) } else { read_json(bytes, NOW) };
    let read = once();
    check(&read);
    assert_eq!(read, once(), "it is not read the same twice");
    // Whom it may be answered, if anybody, is an address, and ends no line of a header.
    if let Ok(mailbox) = answer_to(bytes) {
        assert!(mailbox.to_string().bytes().all(|byte| byte.is_ascii_graphic()), "{mailbox}");
    }
    // What is encrypted, and as if there had been anything in it.
    if let Some(sealed) = Sealed::of(bytes) {
        let opened = sealed.opened(bytes, bytes);
        // It stands in for what was there, with a header and what stood around it.
        assert!(opened.len() <= 2 * bytes.len() + (512 << 10), "{} bytes of {}", opened.len(), bytes.len());
        check(&read_mail(&opened, NOW));
    }
}

fn check(read: &Result<Reading, Refused>) {
    let harmless = |refused: &Refused| {
        let detail = &refused.detail;
        assert!(detail.chars().count() <= MAX_DETAIL && !detail.contains(char::is_control), "{refused:?}");
    };
    let reading = match read {
        Ok(reading) => reading,
        Err(refused) => return harmless(refused),
    };
    reading.refused.iter().for_each(harmless);
    assert!(!reading.complaints.is_empty(), "neither read nor refused");
    assert!(reading.complaints.len() <= MAX_REPORTS, "more than are taken at once");
    for one in &reading.complaints {
        assert!(one.bytes() <= MAX_COMPLAINT_BYTES, "{} bytes", one.bytes());
        assert!(one.header.len() <= MAX_FIELDS, "{} fields", one.header.len());
        for length in [one.urls.len(), one.hosts.len(), one.others.len(), one.evidence.len()] {
            assert!(length <= MAX_LIST, "a list of {length}");
        }
        assert!(!one.text.contains(|letter: char| letter.is_control() && letter != '\n'), "{:?}", one.text);
        assert_eq!(one.source.is_none(), one.found == Found::Nowhere);
        let named = !one.urls.is_empty() || !one.hosts.is_empty();
        assert!(one.source.is_some() || named, "a complaint about nothing");
        assert!(one.seen_at.is_none_or(|at| at.since(NOW).as_secs() <= 86_400), "a time that is to come");
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
    }
}
