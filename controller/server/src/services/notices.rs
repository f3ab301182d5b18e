//! Who was told what, for people and for whatever sends it.

use reeve_proto::operator::v1::{ListNoticesRequest, ListNoticesResponse, NoticeEntry};
use reeve_proto::time_to_wire;
use tonic::Status;

use super::operator::{page_size, parsed};
use super::{House, unreadable};
use crate::store::{NoticeFilter, NoticeRow};

/// Lists notices.
pub(super) async fn list(house: &House, request: ListNoticesRequest) -> Result<ListNoticesResponse, Status> {
    let limit = page_size(request.page_size, 100, 1_000)?;
    let token: Option<i64> = parsed("page_token", &request.page_token)?;
    // More than a number of SQLite's can be is after all of them.
    let after = request.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let filter = NoticeFilter {
        tenant: parsed("tenant", &request.tenant)?,
        recipient: parsed("recipient", &request.recipient)?,
        after: after.map(|after| token.unwrap_or(after)),
        before: token.filter(|_| after.is_none()),
        limit: limit + 1,
    };
    let mut rows = house.store.notices(&filter).await.map_err(unreadable)?;
    let is_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_page_token = match rows.last() {
        Some(last) if is_more => last.number.to_string(),
        _ => String::new(),
    };
    let entry = |row: &NoticeRow| NoticeEntry {
        number: row.number,
        notice: Some((&row.notice).into()),
        made_time: Some(time_to_wire(row.made)),
    };
    Ok(ListNoticesResponse { notices: rows.iter().map(entry).collect(), next_page_token })
}
