//! Reports that are broken, wrong, or meant to do harm.

use super::{Expected, Incident, Random, Sample, forms};
use crate::{Format, Reason};

/// Adds one or two of them for an incident.
pub(super) fn add(
    all: &mut Vec<Sample>,
    format: Format,
    incident: &Incident,
    turn: usize,
    random: &mut Random,
) {
    let whole = forms::write(format, incident, random);
    all.push(wrong(&whole, format, incident, turn, random));
    if turn.is_multiple_of(2) {
        all.push(harmful(&whole, incident, turn / 2, random));
    }
}

fn named(whole: &Sample, what: &str, bytes: Vec<u8>, expected: Expected) -> Sample {
    Sample { name: format!("{}, {what}", whole.name), bytes, expected, copy_of: None, ..whole.clone() }
}

/// Something in it is wrong, and everybody can say what.
fn wrong(whole: &Sample, format: Format, incident: &Incident, turn: usize, random: &mut Random) -> Sample {
    let other = |incident: Incident, what, reason, random: &mut Random| {
        let sample = forms::write(format, &incident, random);
        Sample {
            expected: Expected::Refused(reason),
            ..named(&sample, what, sample.bytes.clone(), Expected::Anything)
        }
    };
    match turn % 6 {
        // A letter that names an absurd address names none.
        0 if format != Format::Plain => {
            let absurd = *random.pick(&["0.0.0.0", "224.0.0.251", "255.255.255.255", "ff02::1", "::"]);
            other(incident.from(absurd), "from nowhere", Reason::AbsurdSource, random)
        }
        // Nobody knows whether a time in a letter is that of the deed.
        1 if format != Format::Plain => other(incident.to_come(), "to come", Reason::Future, random),
        2 if matches!(format, Format::Xarf4 | Format::Xarf3) => {
            let text = *random.pick(&[
                "{",
                "[{\"xarf_version\":",
                "{\"a\":1,}",
                "xarf",
                "{\"xarf_version\": \"4.0.0\"} {",
            ]);
            let sample = Sample { is_mail: false, ..whole.clone() };
            named(&sample, "no JSON", text.as_bytes().to_vec(), Expected::Refused(Reason::NotJson))
        }
        3 if matches!(format, Format::Xarf4 | Format::Xarf3) => {
            let text =
                *random.pick(&["{}", "[7]", "{\"xarf_version\": \"5.0.0\"}", "\"text\"", "{\"Report\": 1}"]);
            let sample = Sample { is_mail: false, ..whole.clone() };
            named(&sample, "no report", text.as_bytes().to_vec(), Expected::Refused(Reason::NotXarf))
        }
        4 => {
            let bytes =
                b"From: a@reporter.example\nSubject: hello\n\nGood day, please call us back.\n".to_vec();
            let sample = Sample { is_mail: true, ..whole.clone() };
            named(&sample, "without a source", bytes, Expected::Refused(Reason::NoSource))
        }
        5 => {
            let (bytes, reason): (&[u8], _) = *random.pick(&[
                (&b""[..], Reason::Empty),
                (&b"\n\n\n"[..], Reason::NotMail),
                (&b"\0\0\0"[..], Reason::NotMail),
            ]);
            named(
                &Sample { is_mail: true, ..whole.clone() },
                "nothing",
                bytes.to_vec(),
                Expected::Refused(reason),
            )
        }
        _ => {
            let bytes = b"From: a@reporter.example\nContent-Type: multipart/encrypted; boundary=x\n\n--x\n\nsecret\n--x--\n".to_vec();
            named(
                &Sample { is_mail: true, ..whole.clone() },
                "encrypted",
                bytes,
                Expected::Refused(Reason::Encrypted),
            )
        }
    }
}

/// Made to break whoever reads it.
fn harmful(whole: &Sample, incident: &Incident, turn: usize, random: &mut Random) -> Sample {
    let mut bytes = whole.bytes.clone();
    let what = match turn % 10 {
        0 => {
            bytes.truncate(random.below(bytes.len()));
            "cut off"
        }
        1 => {
            for _ in 0..1 + random.below(20) {
                let place = random.below(bytes.len());
                bytes[place] = random.next() as u8;
            }
            "with bytes that are others"
        }
        2 => {
            let place = random.below(bytes.len());
            let noise: Vec<u8> = (0..200).map(|_| (random.next() % 32) as u8).collect();
            bytes.splice(place..place, noise);
            "with control characters"
        }
        3 => {
            let place = random.below(bytes.len());
            let huge = vec![*random.pick(b"a \n:.{[\"<"); 300_000];
            bytes.splice(place..place, huge);
            "with something huge"
        }
        4 => {
            let place = random.below(bytes.len());
            bytes.drain(place..(place + 1 + random.below(60)).min(whole.bytes.len()));
            "with a piece gone"
        }
        5 => {
            bytes.reverse();
            "backwards"
        }
        6 => {
            let charset = *random.pick(&["utf-7", "utf-16le", "iso-2022-jp", "x\u{0}y", "866"]);
            let text = String::from_utf8_lossy(&bytes).replace("utf-8", charset);
            bytes = text.into_bytes();
            "in a charset that it is not in"
        }
        7 => {
            let mut deep = b"From: a@reporter.example\n".to_vec();
            for level in 0..500 {
                let kind = if random.chance(2) { "message/rfc822" } else { "multipart/mixed" };
                deep.extend(format!("Content-Type: {kind}; boundary=b{level}\n\n--b{level}\n").as_bytes());
            }
            deep.extend(&bytes);
            bytes = deep;
            return Sample {
                is_mail: true,
                ..named(whole, "in five hundred others", bytes, Expected::Anything)
            };
        }
        8 => {
            let mut long = b"[".repeat(200 + random.below(100_000));
            long.extend(&bytes);
            return Sample { is_mail: false, ..named(whole, "behind brackets", long, Expected::Anything) };
        }
        _ => {
            let fields: String =
                (0..20_000).map(|number| format!("X{number}: {}\n", incident.source)).collect();
            bytes.splice(0..0, fields.into_bytes());
            "with twenty thousand fields"
        }
    };
    named(whole, what, bytes, Expected::Anything)
}
