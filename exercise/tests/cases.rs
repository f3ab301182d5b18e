//! What fuzzing began with and what it ever found, run again.

use reeve_exercise::Drive;

#[test]
fn every_case_passes() {
    for drive in Drive::ALL {
        let cases = drive.cases().expect("they can be read");
        assert!(!cases.is_empty(), "{} has no seeds", drive.name());
        for (path, bytes) in cases {
            let run = std::panic::catch_unwind(|| drive.run(&bytes));
            assert!(run.is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn cut_and_flipped_cases_pass_too() {
    for drive in Drive::ALL {
        for (path, bytes) in drive.cases().expect("they can be read") {
            // A few hundred neighbours of each, spread evenly over it and the same every time.
            let step = (bytes.len() / 48).max(1);
            for place in (0..bytes.len()).step_by(step) {
                let mut other = bytes.clone();
                other[place] ^= 1 << (place % 8);
                let run = std::panic::catch_unwind(|| {
                    drive.run(&other);
                    drive.run(&bytes[..place]);
                });
                assert!(run.is_ok(), "{} with byte {place} flipped or cut there", path.display());
            }
        }
    }
}
