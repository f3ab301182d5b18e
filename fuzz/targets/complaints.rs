#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reeve_exercise::Drive::Complaints.run(bytes));
