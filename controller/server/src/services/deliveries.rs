//! How notices, and acknowledgements of complaints, get to people: for the people on call.

use reeve_policy::Name;
use reeve_proto::operator::v1::{
    Delivery, DeliveryChannel, DeliveryState as WireState, ListDeliveriesRequest, ListDeliveriesResponse,
    ResendDeliveryRequest, ResendDeliveryResponse,
};
use reeve_proto::time_to_wire;
use tonic::Status;

use super::orders::{check_key, key_in_use};
use super::{House, unreadable, unwritable};
use crate::listing::{Asked, Field, Kind, List, Value};
use crate::refusal::Reason;
use crate::store::write::{Requested, ResendAsked, ResendTaken};
use crate::store::{Channel, DeliveryFilter, DeliveryRow, DeliveryState, Sight};
use crate::writer::Job;

static DELIVERIES: List = List {
    name: "ListDeliveries",
    fields: &[
        Field { name: "number", kind: Kind::Number, column: "number" },
        Field { name: "notice", kind: Kind::Number, column: "coalesce(notice, 0)" },
        Field { name: "complaint", kind: Kind::Number, column: "coalesce(complaint, 0)" },
        Field { name: "tenant", kind: Kind::Text, column: "coalesce(tenant, '')" },
        Field { name: "recipient", kind: Kind::Text, column: "coalesce(recipient, '')" },
        Field { name: "channel", kind: Kind::Words(Channel::NAMES), column: "channel" },
        Field { name: "target", kind: Kind::Text, column: "target" },
        Field { name: "state", kind: Kind::Words(DeliveryState::NAMES), column: "state" },
        Field { name: "made_time", kind: Kind::Time, column: "made" },
    ],
    descending: true,
    sizes: (100, 1_000),
};

/// Lists deliveries.
pub(super) async fn list(
    house: &House,
    sight: Sight,
    request: ListDeliveriesRequest,
) -> Result<ListDeliveriesResponse, Status> {
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: "",
        also: request.notice.to_string(),
    };
    let plan = DELIVERIES.plan(&house.pages, &asked)?;
    let notice = (request.notice > 0).then(|| i64::try_from(request.notice).unwrap_or(i64::MAX));
    let filter = DeliveryFilter { notice, sight, plan };
    let mut rows = house.store.deliveries(&filter).await.map_err(unreadable)?;
    let next_page_token = filter.plan.cut(&house.pages, &mut rows, |row, _| Value::number(row.number));
    Ok(ListDeliveriesResponse { deliveries: rows.iter().map(to_wire).collect(), next_page_token })
}

/// Sends something again.
pub(super) async fn resend(
    house: &House,
    sight: Sight,
    request: ResendDeliveryRequest,
) -> Result<ResendDeliveryResponse, Status> {
    check_key(&request.idempotency_key)?;
    let ResendDeliveryRequest { number, again, idempotency_key } = request;
    let requested = Requested { key: idempotency_key, meaning: format!("resend {number} {again}") };
    let asked = ResendAsked { number, is_again: again };
    if house.store.is_delivery_sealed(number).await.map_err(unreadable)? {
        return Err(match sight {
            Sight::Whole => Reason::PreconditionFailed
                .status("the case that it is about is sealed: nobody is told of it".to_owned()),
            Sight::Unsealed => no_delivery(number),
        });
    }
    let taken =
        house.writer.ask(|reply| Job::Resend { requested, asked, reply }).await.map_err(unwritable)?;
    let about = [("delivery", number.to_string())];
    match taken {
        ResendTaken::Done(rows) => {
            Ok(ResendDeliveryResponse { deliveries: rows.iter().map(to_wire).collect() })
        }
        ResendTaken::Unknown => Err(no_delivery(number)),
        ResendTaken::KeyInUse => Err(key_in_use()),
        ResendTaken::Sent => {
            let text = format!(
                "{number} was sent; whoever has it gets it twice if it is sent again, for which `again` must be set"
            );
            Err(Reason::DeliverySent.about(text, about))
        }
        ResendTaken::Nowhere => {
            let text = "there is no address to send it to: the recipient's entry has no `contacts`";
            Err(Reason::DeliveryNowhere.about(text, about))
        }
    }
}

fn no_delivery(number: u64) -> Status {
    let about = [("delivery", number.to_string())];
    Reason::DeliveryNotFound.about(format!("there is no delivery {number}"), about)
}

fn to_wire(row: &DeliveryRow) -> Delivery {
    let channel = match row.channel {
        Channel::Mail => DeliveryChannel::Mail,
        Channel::Webhook => DeliveryChannel::Webhook,
        Channel::File => DeliveryChannel::File,
    };
    let state = match row.state {
        DeliveryState::Pending => WireState::Pending,
        DeliveryState::Sent => WireState::Sent,
        DeliveryState::Dead => WireState::Dead,
    };
    let name = |name: &Option<Name>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    Delivery {
        number: row.number,
        notice: row.notice,
        complaint: row.complaint.unwrap_or_default(),
        recipient: name(&row.recipient),
        tenant: name(&row.tenant),
        channel: channel.into(),
        target: row.target.clone(),
        state: state.into(),
        made_time: Some(time_to_wire(row.made)),
        next_time: (row.state == DeliveryState::Pending).then(|| time_to_wire(row.due)),
        tried_time: row.tried.map(time_to_wire),
        attempts: row.attempts,
        detail: row.detail.clone(),
    }
}
