//! What is sent: calls, and their answers shown.

use reeve_proto::operator::v1::{
    Delivery, DeliveryChannel, DeliveryState, ListDeliveriesRequest, ResendDeliveryRequest,
};
use serde_json::{Value, json};

use crate::args::{OutboxCommand, OutboxFilter};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::show::{cells, table, when};

impl Call {
    pub(crate) async fn outbox(
        &self,
        filter: OutboxFilter,
        command: Option<OutboxCommand>,
    ) -> Result<(), CallError> {
        match command {
            None => self.list_deliveries(filter).await,
            Some(OutboxCommand::List { filter }) => self.list_deliveries(filter).await,
            Some(OutboxCommand::Resend { numbers, again, repeat }) => {
                let mut sent = Vec::new();
                for (place, number) in numbers.iter().enumerate() {
                    let mut idempotency_key = repeat.request_key.clone();
                    // One key stands for one act.
                    if !idempotency_key.is_empty() && numbers.len() > 1 {
                        idempotency_key.push_str(&format!(".{place}"));
                    }
                    let request = ResendDeliveryRequest { number: *number, again, idempotency_key };
                    let answer = self.controller.operator().resend_delivery(self.request(request)).await?;
                    sent.extend(answer.into_inner().deliveries);
                }
                let text = || format!("sent as soon as may be:\n{}", list(&sent));
                self.tell(|| all(&sent), text)
            }
        }
    }

    async fn list_deliveries(&self, filter: OutboxFilter) -> Result<(), CallError> {
        let request = ListDeliveriesRequest {
            notice: filter.notice.unwrap_or_default(),
            page_size: filter.limit,
            filter: filter.filter,
            ..Default::default()
        };
        let answer = self.controller.operator().list_deliveries(self.request(request)).await?.into_inner();
        self.tell(|| all(&answer.deliveries), || list(&answer.deliveries))
    }
}

const fn state_word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Unspecified => "unknown",
        DeliveryState::Pending => "pending",
        DeliveryState::Sent => "sent",
        DeliveryState::Dead => "dead",
    }
}

const fn channel_word(channel: DeliveryChannel) -> &'static str {
    match channel {
        DeliveryChannel::Unspecified => "unknown",
        DeliveryChannel::Mail => "mail",
        DeliveryChannel::Webhook => "webhook",
        DeliveryChannel::File => "file",
    }
}

fn all(deliveries: &[Delivery]) -> Value {
    let one = |delivery: &Delivery| {
        json!({
            "number": delivery.number,
            "notice": delivery.notice,
            "complaint": delivery.complaint,
            "recipient": delivery.recipient,
            "tenant": delivery.tenant,
            "channel": channel_word(delivery.channel()),
            "target": delivery.target,
            "state": state_word(delivery.state()),
            "made_time": at(delivery.made_time),
            "next_time": at(delivery.next_time),
            "tried_time": at(delivery.tried_time),
            "attempts": delivery.attempts,
            "detail": delivery.detail,
        })
    };
    json!({ "deliveries": deliveries.iter().map(one).collect::<Vec<_>>() })
}

/// What it tells of: a notice by its number, or a complaint.
fn of(delivery: &Delivery) -> String {
    match delivery.complaint {
        0 => format!("notice {}", delivery.notice),
        number => format!("complaint {number}"),
    }
}

fn list(deliveries: &[Delivery]) -> String {
    if deliveries.is_empty() {
        return "nothing is sent, or was".to_owned();
    }
    let headings = ["NUMBER", "OF", "TO", "BY", "TARGET", "STATE", "TRIED", "LAST", "NEXT", "SAID"];
    let mut rows = vec![cells(headings)];
    rows.extend(deliveries.iter().map(|delivery| {
        let time = |at: Option<_>| at.map_or_else(|| "-".to_owned(), |at| when(Some(at)));
        vec![
            delivery.number.to_string(),
            of(delivery),
            if delivery.recipient.is_empty() { "-".to_owned() } else { delivery.recipient.clone() },
            channel_word(delivery.channel()).to_owned(),
            if delivery.target.is_empty() { "-".to_owned() } else { delivery.target.clone() },
            state_word(delivery.state()).to_owned(),
            delivery.attempts.to_string(),
            time(delivery.tried_time),
            time(delivery.next_time),
            delivery.detail.clone(),
        ]
    }));
    table(&rows)
}
