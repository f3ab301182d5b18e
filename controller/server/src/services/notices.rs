//! Who was told what, for people and for whatever sends it.

use reeve_proto::operator::v1::{ListNoticesRequest, ListNoticesResponse, NoticeEntry};
use reeve_proto::time_to_wire;
use tonic::Status;

use super::operator::parsed;
use super::{House, unreadable};
use crate::listing::{Asked, Field, Kind, List, Mask, Value};
use crate::store::{NoticeFilter, NoticeRow, Sight};

static FORWARD: List = List { descending: false, ..BACKWARD };
static BACKWARD_FIELDS: [Field; 5] = [
    Field { name: "number", kind: Kind::Number, column: "number" },
    Field { name: "tenant", kind: Kind::Text, column: "tenant" },
    Field { name: "recipient", kind: Kind::Text, column: "recipient" },
    Field {
        name: "kind",
        kind: Kind::Words(&["information", "warning", "immediate", "final", "lifted"]),
        column: "kind",
    },
    Field { name: "made_time", kind: Kind::Time, column: "made" },
];
const BACKWARD: List =
    List { name: "ListNotices", fields: &BACKWARD_FIELDS, descending: true, sizes: (100, 1_000) };
static NEWEST: List = BACKWARD;

/// Lists notices.
pub(super) async fn list(
    house: &House,
    sight: Sight,
    request: ListNoticesRequest,
) -> Result<ListNoticesResponse, Status> {
    // More than a number of SQLite's can be is after all of them.
    let after = request.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let list = if after.is_some() { &FORWARD } else { &NEWEST };
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: "",
        also: format!("{} {} {after:?}", request.tenant, request.recipient),
    };
    let plan = list.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.operator.v1.NoticeEntry", request.read_mask)?;
    let filter = NoticeFilter {
        tenant: parsed("tenant", &request.tenant)?,
        recipient: parsed("recipient", &request.recipient)?,
        after,
        sight,
        plan,
    };
    let mut rows = house.store.notices(&filter).await.map_err(unreadable)?;
    let next_page_token = filter.plan.cut(&house.pages, &mut rows, |row, _| Value::number(row.number));
    let entry = |row: &NoticeRow| NoticeEntry {
        number: row.number,
        notice: Some((&row.notice).into()),
        made_time: Some(time_to_wire(row.made)),
    };
    let notices = rows.iter().map(entry).map(|entry| mask.apply(entry)).collect();
    Ok(ListNoticesResponse { notices, next_page_token })
}
