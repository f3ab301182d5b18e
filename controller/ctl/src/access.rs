//! Who may call: calls, and their answers shown.

use std::time::Duration;

use reeve_policy::Name;
use reeve_proto::operator::v1::revoke_request::Subject;
use reeve_proto::operator::v1::{
    CreateEnrolmentTokenRequest, CreateTokenRequest, ListRevocationsRequest, ListTokensRequest, Revocation,
    RevokeRequest, RevokeTokenRequest, Role, Token, WhoAmIRequest, WhoAmIResponse,
};
use reeve_proto::{duration_to_wire, time};
use serde_json::{Value, json};

use crate::args::{RoleArg, TokenCommand, Whose};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::show::{cells, facts, table, when};

impl Call {
    pub(crate) async fn who_am_i(&self) -> Result<(), CallError> {
        let answer = self.controller.access().who_am_i(self.request(WhoAmIRequest {})).await?.into_inner();
        self.tell(|| who_json(&answer), || who(&answer))
    }

    pub(crate) async fn enroll_token(&self, node: &Name, life: Duration) -> Result<(), CallError> {
        let life = Some(duration_to_wire(life));
        let request = CreateEnrolmentTokenRequest { node: node.to_string(), life };
        let made = self.controller.access().create_enrolment_token(self.request(request)).await?.into_inner();
        let all = || json!({ "node": node, "token": made.token, "expire_time": at(made.expire_time) });
        self.tell(all, || made.token.clone())
    }

    pub(crate) async fn revoke(&self, whose: Whose, reason: String) -> Result<(), CallError> {
        let subject = match whose {
            Whose { node: Some(node), .. } => Some(Subject::Node(node.to_string())),
            Whose { person, .. } => person.map(|person| Subject::Person(person.to_string())),
        };
        let request = self.request(RevokeRequest { subject, reason });
        let done = self.controller.access().revoke(request).await?.into_inner();
        let revocation = done.revocation.ok_or(CallError::Answer("it holds no revocation"))?;
        let cut = done.connections_cut;
        let text = format!("the certificates of {} are revoked; connections cut: {cut}", revocation.subject);
        self.tell(|| json!({ "revocation": revocation_json(&revocation), "connections_cut": cut }), || text)
    }

    pub(crate) async fn revocations(&self) -> Result<(), CallError> {
        let request = self.request(ListRevocationsRequest {});
        let all = self.controller.access().list_revocations(request).await?.into_inner().revocations;
        let json = || json!({ "revocations": all.iter().map(revocation_json).collect::<Vec<_>>() });
        self.tell(json, || {
            if all.is_empty() {
                return "nobody's certificates were revoked".to_owned();
            }
            let mut rows = vec![cells(["WHOSE", "WHEN", "BY", "WHY"])];
            rows.extend(all.iter().map(|one| {
                vec![one.subject.clone(), when(one.revoke_time), one.revoked_by.clone(), one.reason.clone()]
            }));
            table(&rows)
        })
    }

    pub(crate) async fn token(&self, command: TokenCommand) -> Result<(), CallError> {
        match command {
            TokenCommand::Create { name, role, life, addresses } => {
                let request = CreateTokenRequest {
                    name: name.to_string(),
                    role: role_of(role).into(),
                    life: Some(duration_to_wire(life)),
                    addresses,
                };
                let made = self.controller.access().create_token(self.request(request)).await?.into_inner();
                let entry = made.entry.ok_or(CallError::Answer("it holds no token"))?;
                // The token alone on standard output, so that it can be put into a file without being read by anybody.
                self.tell(
                    || json!({ "token": made.token, "entry": token_json(&entry) }),
                    || made.token.clone(),
                )
            }
            TokenCommand::List => {
                let request = self.request(ListTokensRequest {});
                let tokens = self.controller.access().list_tokens(request).await?.into_inner().tokens;
                let all = || json!({ "tokens": tokens.iter().map(token_json).collect::<Vec<_>>() });
                self.tell(all, || tokens_text(&tokens))
            }
            TokenCommand::Revoke { name } => {
                let request = RevokeTokenRequest { name: name.to_string() };
                let done = self.controller.access().revoke_token(self.request(request)).await?.into_inner();
                let entry = done.entry.ok_or(CallError::Answer("it holds no token"))?;
                self.tell(|| token_json(&entry), || format!("the token {name} is revoked"))
            }
        }
    }
}

pub(crate) const fn role_of(role: RoleArg) -> Role {
    match role {
        RoleArg::Status => Role::Status,
        RoleArg::Billing => Role::Billing,
        RoleArg::Viewer => Role::Viewer,
        RoleArg::Operator => Role::Operator,
        RoleArg::Admin => Role::Admin,
    }
}

pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown",
        Role::Status => "status",
        Role::Billing => "billing",
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

fn who_json(answer: &WhoAmIResponse) -> Value {
    json!({
        "name": answer.name,
        "role": role_word(answer.role()),
        "shown": answer.shown,
        "address": answer.address,
    })
}

fn who(answer: &WhoAmIResponse) -> String {
    facts(&[
        ("name", answer.name.clone()),
        ("role", role_word(answer.role()).to_owned()),
        ("shown", answer.shown.clone()),
        ("address", answer.address.clone()),
    ])
}

fn token_json(token: &Token) -> Value {
    json!({
        "name": token.name,
        "role": role_word(token.role()),
        "state": state(token),
        "create_time": at(token.create_time),
        "expire_time": at(token.expire_time),
        "revoke_time": at(token.revoke_time),
        "addresses": token.addresses,
        "created_by": token.created_by,
        "beginning": token.beginning,
    })
}

/// Whether a token is good, or why it is not.
fn state(token: &Token) -> &'static str {
    if token.revoke_time.is_some() {
        return "revoked";
    }
    match time("expire_time", token.expire_time) {
        Ok(end) if end <= crate::show::now() => "expired",
        _ => "good",
    }
}

fn revocation_json(revocation: &Revocation) -> Value {
    json!({
        "subject": revocation.subject,
        "revoke_time": at(revocation.revoke_time),
        "revoked_by": revocation.revoked_by,
        "reason": revocation.reason,
    })
}

fn tokens_text(tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "there are no tokens".to_owned();
    }
    let mut rows = vec![cells(["NAME", "ROLE", "STATE", "BEGINS", "FROM", "MADE", "BY", "ENDS"])];
    rows.extend(tokens.iter().map(|token| {
        let from = if token.addresses.is_empty() { "anywhere".to_owned() } else { token.addresses.join(" ") };
        vec![
            token.name.clone(),
            role_word(token.role()).to_owned(),
            state(token).to_owned(),
            token.beginning.clone(),
            from,
            when(token.create_time),
            token.created_by.clone(),
            when(token.expire_time),
        ]
    }));
    table(&rows)
}
