//! Reports by the thousand, taken by a running controller: each goes to the tenant that it is about, copies to the one that is there, and what is
//! broken is kept with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::complaints::{get, list, submit_as, told};
use crate::common::{Running, import};
use reeve_proto::operator::v1::{ComplaintFormat, ComplaintState};
use reeve_proto::types::v1::Tenant;
use reeve_reports::samples::{Expected, all_at};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_thousand_reports_go_to_whom_they_are_about() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let samples = all_at(reeve_controller::clock::now());
    assert!(samples.len() > 1_000, "{}", samples.len());
    // A tenant for each address.
    let sources: BTreeSet<IpAddr> =
        samples.iter().filter_map(reeve_reports::samples::Sample::source).collect();
    let owners: BTreeMap<IpAddr, String> =
        (0..).zip(sources).map(|(number, source)| (source, format!("t{number}"))).collect();
    let tenant = |(source, id): (&IpAddr, &String)| {
        let length = if source.is_ipv4() { 32 } else { 128 };
        Tenant { id: id.clone(), addresses: vec![format!("{source}/{length}")], ..Tenant::default() }
    };
    import(&channel, owners.iter().map(tenant).collect(), true).await;

    let mut calls = tokio::task::JoinSet::new();
    let width = std::sync::Arc::new(tokio::sync::Semaphore::new(16));
    for (place, sample) in samples.iter().cloned().enumerate() {
        let (channel, width) = (channel.clone(), std::sync::Arc::clone(&width));
        calls.spawn(async move {
            let _turn = width.acquire().await.unwrap();
            let format = if sample.is_mail { ComplaintFormat::Mail } else { ComplaintFormat::Json };
            (place, submit_as(&channel, format, &sample.bytes).await)
        });
    }
    let taken: BTreeMap<usize, _> = calls.join_all().await.into_iter().collect();
    let (mut filed, mut refused) = (BTreeSet::new(), 0);
    for (place, sample) in samples.iter().enumerate() {
        let name = &sample.name;
        let answer = match &taken[&place] {
            Ok(answer) => answer,
            Err(status) => {
                assert!(
                    sample.bytes.is_empty() && status.code() == Code::InvalidArgument,
                    "{name}: {status}"
                );
                continue;
            }
        };
        assert!(!answer.is_empty(), "{name}: nothing is kept");
        for one in answer.iter().filter(|one| one.state() != ComplaintState::Filed) {
            assert!(!one.detail.is_empty(), "{name}: no reason: {one:?}");
        }
        match sample.expected {
            Expected::Source(source) => {
                assert_eq!(answer.len(), 1, "{name}: {answer:?}");
                assert_eq!(answer[0].tenant, owners[&source], "{name}: {:?}", answer[0]);
                assert_eq!(answer[0].state(), ComplaintState::Filed, "{name}");
                let is_new = filed.insert(answer[0].number);
                match sample.copy_of {
                    None => assert!(is_new, "{name}: filed with another one"),
                    Some(original) => {
                        assert_eq!(answer[0].number, taken[&original].as_ref().unwrap()[0].number, "{name}");
                    }
                }
            }
            Expected::Refused(reason) => {
                assert_eq!(answer[0].state(), ComplaintState::Unreadable, "{name}");
                assert!(answer[0].detail.starts_with(reason.meaning()), "{name}: {}", answer[0].detail);
                let kept = get(&channel, answer[0].number).await.unwrap().message;
                assert!(sample.bytes.starts_with(&kept) && !kept.is_empty(), "{name}");
                refused += 1;
            }
            Expected::Anything => {}
        }
    }
    assert!(filed.len() >= 550 && refused > 300, "{} {refused}", filed.len());
    // Each of them is told in one case, once.
    for one in
        list(&channel, "state = filed").await.iter().filter(|one| filed.contains(&one.number)).step_by(20)
    {
        let begins = format!("complaint {}: ", one.number);
        let entries = told(&channel, &one.case_id).await;
        assert_eq!(entries.iter().filter(|entry| entry.text.starts_with(&begins)).count(), 1, "{one:?}");
    }
    // All at once again: nothing is filed twice, and nothing is lost.
    let before = list(&channel, "").await.len();
    let is_whole = |sample: &&reeve_reports::samples::Sample| sample.expected != Expected::Anything;
    for sample in samples.iter().filter(is_whole).filter(|sample| !sample.bytes.is_empty()).step_by(7) {
        let format = if sample.is_mail { ComplaintFormat::Mail } else { ComplaintFormat::Json };
        submit_as(&channel, format, &sample.bytes).await.unwrap();
    }
    assert_eq!(list(&channel, "").await.len(), before);
}
