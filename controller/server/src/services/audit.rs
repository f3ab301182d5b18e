//! `AuditService`: what was done.

use std::pin::Pin;
use std::sync::Arc;

use reeve_audit::{Entry, Signer};
use reeve_proto::operator::v1::audit_service_server::AuditService;
use reeve_proto::operator::v1::{
    AuditEntry, ExportAuditRequest, ExportAuditResponse, ListAuditRequest, ListAuditResponse,
};
use reeve_proto::{time, time_to_wire};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::operator::page_size;
use super::{House, unreadable, unsound, unwritable};
use crate::store::AuditFilter;
use crate::writer::Job;

/// So many lines are read at once.
const CHUNK: u32 = 500;

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub house: House,
    pub signer: Arc<Signer>,
}

#[tonic::async_trait]
impl AuditService for Service {
    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, 100, 1_000)?;
        let before = match request.page_token.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Status::invalid_argument("page_token: the next_page_token of the answer before")
            })?),
        };
        let since = request.since.map(|since| time("since", Some(since)).map_err(unsound)).transpose()?;
        let wanted = |text: String| Some(text).filter(|text| !text.is_empty());
        let filter = AuditFilter {
            who: wanted(request.who),
            act: wanted(request.act),
            subject: wanted(request.subject),
            since,
            before,
            limit: limit + 1,
        };
        let mut entries = self.house.store.audit(&filter).await.map_err(unreadable)?;
        let is_more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let last = entries.last().filter(|_| is_more);
        let next_page_token = last.map(|entry| entry.number.to_string()).unwrap_or_default();
        let entries = entries.into_iter().map(to_wire).collect();
        Ok(Response::new(ListAuditResponse {
            entries,
            next_page_token,
            key: self.signer.public().to_string(),
        }))
    }

    type ExportAuditStream = Pin<Box<dyn Stream<Item = Result<ExportAuditResponse, Status>> + Send>>;

    async fn export_audit(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        let from = request.into_inner().from.max(1);
        let signer = Arc::clone(&self.signer);
        self.house.writer.ask(|reply| Job::Seal { signer, reply }).await.map_err(unwritable)?;
        let (store, (sender, lines)) = (self.house.store.clone(), mpsc::channel(CHUNK as usize));
        tokio::spawn(async move {
            // Behind all of the entry before.
            let mut place = (from - 1, i64::MAX);
            loop {
                let found = match store.audit_lines(place, CHUNK).await {
                    Ok(found) => found,
                    Err(error) => {
                        let _ = sender.send(Err(unreadable(error))).await;
                        return;
                    }
                };
                let Some((last, _)) = found.last() else { return };
                place = *last;
                for (_, line) in found {
                    // Nobody listens any more.
                    if sender.send(Ok(ExportAuditResponse { line })).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(lines))))
    }
}

fn to_wire(entry: Entry) -> AuditEntry {
    let Entry { number, at, who, role, from, act, subject, asked, reason, outcome } = entry;
    AuditEntry { number, time: Some(time_to_wire(at)), who, role, from, act, subject, asked, reason, outcome }
}
