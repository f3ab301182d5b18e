//! Each command: a call, and its answer shown.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use clap::CommandFactory as _;
use ipnet::IpNet;
use reeve_policy::{CheckVerdict, Explanation, Rate, RelayAnswer, evidence};
use reeve_proto::operator::v1::{
    ForgiveStrikesRequest, GetViolationRequest, HoldEvidenceRequest, ImposeRequest, LiftRequest,
    ListEventsRequest, ListNodesRequest, ListNoticesRequest, ListSuspensionsRequest, ListTenantsRequest,
    ListUsageRequest, ListViolationsRequest, NodeOrder, PaidRequest, PauseRequest, PauseTarget,
    ReleaseBrakesRequest, ReleaseRequest, ResumeRequest, SuspendRequest, VerifyRequest, VerifyResponse,
    WatchRequest, node_order, pause_target,
};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::{GetStatusRequest, GetStatusResponse};
use reeve_proto::types::v1::CheckVerdict as WireVerdict;
use reeve_proto::{duration_to_wire, time_to_wire, types};
use reeve_relay_check::{Question, is_outside};
use serde_json::Value;
use tonic::{Code, Request};

use crate::args::{
    AuditCommand, BrakesCommand, CasesCommand, Cli, Command, EnrollTokenCommand, Filter, Narrow, Nodes,
    PolicyCommand, RolloutCommand, StateArg, TenantsCommand, Traffic, UntilArg, ViolationsCommand, Why,
};
use crate::audit;
use crate::bundle;
use crate::client::{CallError, CheckedRelay, Controller};
use crate::dossier::Told;
use crate::{doctor, json, person, policy, show, tenants};

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<(), CallError> {
    match &cli.command {
        Command::Completion { shell } => {
            return Ok(reeve_manual::completions(Cli::command(), *shell, &mut std::io::stdout())?);
        }
        Command::Man { folder } => {
            return Ok(reeve_manual::pages(Cli::command(), reeve_manual::USER_COMMANDS, folder)?);
        }
        // Whom it cannot reach it tells like everything else that it finds.
        Command::Doctor => return doctor::run(&cli.connection, cli.json).await,
        Command::Policy { command } if !command.is_remote() => return policy::run(command, cli.json),
        // What is verified asks nobody.
        Command::Audit { command: AuditCommand::Verify { file, keys } } => {
            let told = audit::verify(file, keys, cli.json)?;
            writeln!(std::io::stdout().lock(), "{}", told.trim_end())?;
            return Ok(());
        }
        Command::Cases { command: Some(CasesCommand::Verify { file, keys }), .. } => {
            let told = bundle::verify(file, keys, cli.json)?;
            writeln!(std::io::stdout().lock(), "{}", told.trim_end())?;
            return Ok(());
        }
        _ => {}
    }
    // Wrong files are told before anybody is called.
    let import = match &cli.command {
        Command::Tenants { command: Some(TenantsCommand::Import { file, format, .. }) } => {
            tenants::read(file, *format)?
        }
        _ => Vec::new(),
    };
    // People type for longer than the controller waits for whoever has shown nothing: each is asked first, and then connects.
    match &cli.command {
        Command::Login { name } => {
            let typed = person::ask_login()?;
            return Call::coming(&cli).await?.login(name, typed).await;
        }
        Command::SetUp => {
            let invitation = person::ask_invitation()?;
            let begun = Call::coming(&cli).await?.begin_set_up(&invitation).await?;
            let typed = person::ask_set_up(&begun)?;
            return Call::coming(&cli).await?.finish_set_up(&begun.name, invitation, typed).await;
        }
        _ => {}
    }
    if let Command::Policy { command: PolicyCommand::Rollout(RolloutCommand::Upload { file, .. }) } =
        &cli.command
    {
        policy::load(file)?;
    }
    let controller = Controller::connect(&cli.connection, false).await?;
    let call = Call { controller, timeout: cli.connection.timeout, json: cli.json };
    match cli.command {
        Command::Status { subject } => call.status(subject).await,
        Command::Tenants { command: None } => call.tenants(String::new(), Narrow::default()).await,
        Command::Tenants { command: Some(TenantsCommand::List(narrow)) } => {
            call.tenants(String::new(), narrow).await
        }
        Command::Tenants { command: Some(TenantsCommand::Show { tenant }) } => {
            call.tenants(tenant.to_string(), Narrow::default()).await
        }
        Command::Tenants { command: Some(TenantsCommand::Import { replace, dry_run, .. }) } => {
            call.import(&import, replace, dry_run).await
        }
        Command::Audit { command } => call.audit(command).await,
        Command::Logout => call.logout().await,
        Command::Sessions { command } => call.sessions(command).await,
        Command::Person { command } => call.person(command).await,
        Command::Approvals { command } => call.approvals(command).await,
        Command::Approve { decide } => call.approve(decide).await,
        Command::Reject { decide } => call.reject(decide).await,
        Command::Token { command } => call.token(command).await,
        Command::EnrollToken { command: EnrollTokenCommand::Create { node, life } } => {
            call.enroll_token(&node, life).await
        }
        Command::Revoke { whose, reason } => call.revoke(whose, reason).await,
        Command::Revocations => call.revocations().await,
        Command::Whoami => call.who_am_i().await,
        Command::Nodes { narrow } => call.nodes(narrow).await,
        Command::Violations { command: Some(ViolationsCommand::Show { id }), .. } => {
            call.violation(id.to_string()).await
        }
        Command::Violations { command: Some(ViolationsCommand::Report { id, format, output }), .. } => {
            call.report(id.to_string(), format, output.as_deref()).await
        }
        Command::Violations { command: Some(ViolationsCommand::List(filter)), .. }
        | Command::Violations { command: None, filter } => call.violations(filter).await,
        Command::Evidence { id, decision, pcapng } => {
            call.evidence(id.to_string(), decision, pcapng.as_deref()).await
        }
        Command::Explain { id } => call.explain(id.to_string()).await,
        Command::CheckRelay { subject, from, to, port } => {
            call.check_relay(subject, port, Question { from, to }).await
        }
        Command::Verify { subject, repeat } => call.verify(subject, repeat.request_key).await,
        Command::Suspend { whom, reason, clause, span, until, no_wait, repeat } => {
            let request = SuspendRequest {
                tenant: String::new(),
                reason,
                clause,
                duration: span.map(duration_to_wire),
                idempotency_key: repeat.request_key,
                wait: !no_wait,
                until_paid: until == Some(UntilArg::Paid),
            };
            call.suspend_whom(whom, request).await
        }
        Command::Paid { tenant, reason, no_wait, repeat } => {
            let tenant = call.tenant(tenant).await?;
            let idempotency_key = repeat.request_key;
            call.paid(PaidRequest { tenant, reason, idempotency_key, wait: !no_wait }).await
        }
        Command::Notices { tenant, to, after, limit, text, filter } => {
            let id = |name: Option<reeve_policy::Name>| name.map(|name| name.to_string()).unwrap_or_default();
            let page_token = String::new();
            let request = ListNoticesRequest {
                tenant: id(tenant),
                recipient: id(to),
                after,
                page_size: limit,
                page_token,
                filter,
                read_mask: None,
            };
            call.notices(request, text).await
        }
        Command::Limit { tenant, rate, traffic, why } => {
            let action = types::v1::Action::Limit;
            call.impose(tenant, action, Some(rate), &traffic, why).await
        }
        Command::Block { tenant, traffic, why } => {
            call.impose(tenant, types::v1::Action::Block, None, &traffic, why).await
        }
        Command::Release { whom, reason, forgive, no_wait, repeat } => {
            let (tenant, idempotency_key) = (String::new(), repeat.request_key);
            let request = ReleaseRequest { tenant, reason, idempotency_key, wait: !no_wait, forgive };
            call.release_whom(whom, request).await
        }
        Command::Standing { subject } => call.standing(subject).await,
        Command::Forgive { tenant, rule, reason, no_wait, repeat } => {
            let request = ForgiveStrikesRequest {
                tenant: call.tenant(tenant).await?,
                rule: rule.map(|rule| rule.to_string()).unwrap_or_default(),
                reason,
                idempotency_key: repeat.request_key,
                wait: !no_wait,
            };
            call.forgive(request).await
        }
        Command::Exempt { asked } => call.exempt(asked).await,
        Command::Outbox { filter, command } => call.outbox(filter, command).await,
        Command::Complaints { filter, command } => call.complaints(filter, command).await,
        Command::Cases { filter, command } => call.cases(filter, command).await,
        Command::Exemptions { tenant, all, command } => call.exemptions(tenant, all, command).await,
        Command::Pause { target, reason, lift, no_wait, repeat } => {
            let (name, target) = (target_name(&target), Some(target_of(target)));
            let idempotency_key = repeat.request_key;
            call.pause(&name, PauseRequest { target, reason, lift, idempotency_key, wait: !no_wait }).await
        }
        Command::Resume { target, reason, no_wait, repeat } => {
            let (name, target) = (target_name(&target), Some(target_of(target)));
            let idempotency_key = repeat.request_key;
            call.resume(&name, ResumeRequest { target, reason, idempotency_key, wait: !no_wait }).await
        }
        Command::Lift { policy, since, node, reason, dry_run, no_wait, repeat } => {
            let request = LiftRequest {
                policy: policy.name.to_string(),
                policy_version: policy.version,
                since: Some(time_to_wire(since)),
                node: node.map(|node| node.to_string()).unwrap_or_default(),
                reason,
                dry_run,
                idempotency_key: repeat.request_key,
                wait: !no_wait,
            };
            call.lift(request).await
        }
        Command::HoldEvidence { id, reason, end } => {
            let reason = reason.unwrap_or_default();
            call.hold_evidence(HoldEvidenceRequest { violation: id, reason, end }).await
        }
        Command::Brakes { command: BrakesCommand::Release { node, reason, no_wait, repeat } } => {
            let (node, idempotency_key) = (node.to_string(), repeat.request_key);
            call.release_brakes(ReleaseBrakesRequest { node, reason, idempotency_key, wait: !no_wait }).await
        }
        Command::Events { node, since, limit, narrow } => {
            let request = ListEventsRequest {
                node: node.map(|node| node.to_string()).unwrap_or_default(),
                since: since.map(time_to_wire),
                page_size: limit,
                page_token: String::new(),
                filter: narrow.filter,
                order_by: narrow.order_by,
                read_mask: None,
            };
            call.events(request).await
        }
        Command::Usage { month, tenant, csv } => {
            let month = month.map(|month| month.to_string()).unwrap_or_default();
            call.usage(month, tenant.map(|tenant| tenant.to_string()).unwrap_or_default(), csv).await
        }
        Command::Suspensions { month, tenant, csv } => {
            let month = month.map(|month| month.to_string()).unwrap_or_default();
            call.suspensions(month, tenant.map(|tenant| tenant.to_string()).unwrap_or_default(), csv).await
        }
        Command::Watch { tenant } => {
            call.watch(tenant.map(|tenant| tenant.to_string()).unwrap_or_default()).await
        }
        Command::Policy { command: PolicyCommand::Rollout(command) } => call.rollout_command(command).await,
        Command::Policy { command: PolicyCommand::Diff { before, after } } => {
            call.policy_diff(&before, &after).await
        }
        Command::Completion { .. } | Command::Man { .. } | Command::Policy { .. } | Command::Doctor => Ok(()),
        Command::Login { .. } | Command::SetUp => Ok(()),
    }
}

/// The port on which a server takes mail from others; what is said elsewhere is told to nobody.
const PORT_SMTP: u16 = 25;

pub(crate) struct Call {
    pub(crate) controller: Controller,
    timeout: std::time::Duration,
    json: bool,
}

impl Call {
    /// Of somebody who logs in or sets up an account: a session from before is not shown.
    async fn coming(cli: &Cli) -> Result<Self, CallError> {
        let controller = Controller::connect(&cli.connection, true).await?;
        Ok(Self { controller, timeout: cli.connection.timeout, json: cli.json })
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// One of the two, on standard output.
    pub(crate) fn tell(
        &self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), CallError> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json())?;
        } else {
            writeln!(out, "{}", text().trim_end())?;
        }
        Ok(())
    }

    async fn ask_status(&self, subject: String) -> Result<GetStatusResponse, CallError> {
        let subject = if subject.parse::<IpAddr>().is_ok() {
            Subject::Address(subject)
        } else if subject.contains('/') {
            Subject::Interface(subject)
        } else {
            Subject::Tenant(subject)
        };
        let request = self.request(GetStatusRequest { subject: Some(subject) });
        Ok(self.controller.status().get_status(request).await?.into_inner())
    }

    /// The id of a tenant that is named by its id, an address or an interface: what an abuse mail has is an address.
    pub(crate) async fn tenant(&self, subject: String) -> Result<String, CallError> {
        let is_id = subject.parse::<IpAddr>().is_err() && !subject.contains('/');
        if is_id { Ok(subject) } else { Ok(self.ask_status(subject).await?.tenant) }
    }

    async fn status(&self, subject: String) -> Result<(), CallError> {
        let status = self.ask_status(subject).await?;
        self.tell(|| json::status(&status), || show::status(&status))
    }

    async fn tenants(&self, tenant: String, narrow: Narrow) -> Result<(), CallError> {
        let (mut all, mut page_token, mut version);
        all = Vec::new();
        page_token = String::new();
        loop {
            let Narrow { filter, order_by } = narrow.clone();
            let request = ListTenantsRequest {
                page_size: 1_000,
                page_token,
                tenant: tenant.clone(),
                filter,
                order_by,
                read_mask: None,
            };
            let page = self.controller.operator().list_tenants(self.request(request)).await?.into_inner();
            all.extend(page.tenants);
            version = page.version;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if all.is_empty() && !tenant.is_empty() {
            return Err(tonic::Status::not_found(format!("there is no tenant {tenant}")).into());
        }
        self.tell(|| json::tenants(&all, version), || show::tenants(&all))
    }

    async fn usage(&self, mut month: String, tenant: String, csv: bool) -> Result<(), CallError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let (tenant, asked) = (tenant.clone(), month.clone());
            let request =
                ListUsageRequest { month: asked, tenant, page_size: 1_000, page_token, ..Default::default() };
            let page = self.controller.operator().list_usage(self.request(request)).await?.into_inner();
            all.extend(page.entries);
            // A month that ends between two pages does not change the question.
            month = page.month;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if csv {
            return self.tell(|| Value::Null, || show::usage_csv(&month, &all));
        }
        self.tell(|| json::usage(&month, &all), || show::usage(&month, &all))
    }

    async fn suspensions(&self, mut month: String, tenant: String, csv: bool) -> Result<(), CallError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let (tenant, asked) = (tenant.clone(), month.clone());
            let request = ListSuspensionsRequest {
                month: asked,
                tenant,
                page_size: 1_000,
                page_token,
                ..Default::default()
            };
            let page = self.controller.operator().list_suspensions(self.request(request)).await?.into_inner();
            all.extend(page.entries);
            month = page.month;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if csv {
            return self.tell(|| Value::Null, || show::suspensions_csv(&month, &all));
        }
        self.tell(|| json::suspensions(&month, &all), || show::suspensions(&month, &all))
    }

    async fn nodes(&self, narrow: Narrow) -> Result<(), CallError> {
        let Narrow { filter, order_by } = narrow;
        let request = ListNodesRequest { filter, order_by, ..Default::default() };
        let nodes = self.controller.all_nodes(request, self.timeout).await?;
        self.tell(|| json::nodes(&nodes), || show::nodes(&nodes))
    }

    async fn violations(&self, filter: Filter) -> Result<(), CallError> {
        let state = match filter.state {
            None => types::v1::ViolationState::Unspecified,
            Some(StateArg::Open) => types::v1::ViolationState::Open,
            Some(StateArg::Quiet) => types::v1::ViolationState::Quiet,
            Some(StateArg::Released) => types::v1::ViolationState::Released,
        };
        let request = ListViolationsRequest {
            tenant: filter.tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
            state: state.into(),
            since: filter.since.map(time_to_wire),
            page_size: filter.limit,
            page_token: String::new(),
            filter: filter.narrow.filter,
            order_by: filter.narrow.order_by,
            read_mask: None,
        };
        let list = self.controller.operator().list_violations(self.request(request)).await?.into_inner();
        self.tell(|| json::violations(&list.violations), || show::violations(&list.violations))
    }

    async fn violation(&self, id: String) -> Result<(), CallError> {
        let request = self.request(GetViolationRequest { id });
        let answer = self.controller.operator().get_violation(request).await?.into_inner();
        let violation = answer.violation.as_ref().ok_or(CallError::Answer("it holds no violation"))?;
        self.tell(|| json::violation(violation, &answer), || show::violation(violation, &answer))
    }

    async fn explain(&self, id: String) -> Result<(), CallError> {
        let request = self.request(GetViolationRequest { id });
        let answer = self.controller.operator().get_violation(request).await?.into_inner();
        let case = Told::read(&answer).ok_or(CallError::Answer("it holds no violation that can be read"))?;
        let explanation = Explanation::new(&case.violation, case.decisions());
        self.tell(|| json::own(Some(&explanation)), || show::explanation(&explanation))
    }

    async fn evidence(
        &self,
        id: String,
        decision: Option<u32>,
        file: Option<&Path>,
    ) -> Result<(), CallError> {
        let request = self.request(GetViolationRequest { id });
        let answer = self.controller.operator().get_violation(request).await?.into_inner();
        let case = Told::read(&answer).ok_or(CallError::Answer("it holds no violation that can be read"))?;
        let told = match decision {
            None => case.chosen(),
            Some(number) => case.behind(number).ok_or(CallError::NoEvidence { number })?,
        };
        let written = match decision {
            None => case.all(),
            Some(_) => vec![told.clone()],
        };
        if let Some(path) = file {
            std::fs::write(path, case.capture(&written))
                .map_err(|source| CallError::File { path: path.to_owned(), source })?;
        }
        let packets = evidence::packets(&written).len();
        let file = file.map(|path| (packets, path));
        self.tell(
            || json::evidence(&case, &told, file),
            || show::evidence(&case, &told, decision.is_none(), file),
        )
    }

    async fn impose(
        &self,
        subject: String,
        action: types::v1::Action,
        rate: Option<Rate>,
        traffic: &Traffic,
        why: Why,
    ) -> Result<(), CallError> {
        let (tenant, waited) = (self.tenant(subject).await?, !why.no_wait);
        let request = ImposeRequest {
            tenant: tenant.clone(),
            action: action.into(),
            scope: Some((&traffic.scope()).into()),
            rate: rate.map(|rate| rate.to_string()).unwrap_or_default(),
            reason: why.reason,
            clause: why.clause,
            duration: why.span.map(duration_to_wire),
            idempotency_key: why.repeat.request_key,
            wait: waited,
        };
        let answer = self.controller.operator().impose(self.request(request)).await?.into_inner();
        let word = if action == types::v1::Action::Limit { "limited" } else { "blocked" };
        self.tell(
            || json::order(&tenant, &answer.order, &answer.nodes),
            || show::order(&tenant, word, &answer.nodes),
        )?;
        done(&answer.nodes, waited)
    }

    async fn paid(&self, request: PaidRequest) -> Result<(), CallError> {
        let (tenant, waited) = (request.tenant.clone(), request.wait);
        let answer = self.controller.operator().paid(self.request(request)).await?.into_inner();
        self.tell(|| json::paid(&tenant, &answer), || show::paid(&tenant, &answer))?;
        done(&answer.nodes, waited)
    }

    async fn notices(&self, request: ListNoticesRequest, with_text: bool) -> Result<(), CallError> {
        let list = self.controller.operator().list_notices(self.request(request)).await?.into_inner();
        self.tell(|| json::notices(&list.notices), || show::notices(&list.notices, with_text))
    }

    async fn pause(&self, target: &str, request: PauseRequest) -> Result<(), CallError> {
        let waited = request.wait;
        let answer = self.controller.operator().pause(self.request(request)).await?.into_inner();
        self.tell(
            || json::node_order_of(target, &answer.order, &answer.nodes),
            || show::pause(target, &answer.nodes),
        )?;
        done_on_nodes(&answer.nodes, waited)
    }

    async fn resume(&self, target: &str, request: ResumeRequest) -> Result<(), CallError> {
        let waited = request.wait;
        let answer = self.controller.operator().resume(self.request(request)).await?.into_inner();
        self.tell(|| json::resumed(target, &answer), || show::resumed(target, &answer))?;
        done_on_nodes(&answer.nodes, waited)
    }

    async fn hold_evidence(&self, request: HoldEvidenceRequest) -> Result<(), CallError> {
        let (violation, is_end) = (request.violation.clone(), request.end);
        let answer = self.controller.operator().hold_evidence(self.request(request)).await?.into_inner();
        self.tell(
            || json::evidence_hold(&violation, !is_end, answer.changed),
            || show::evidence_hold(&violation, !is_end, answer.changed),
        )
    }

    async fn release_brakes(&self, request: ReleaseBrakesRequest) -> Result<(), CallError> {
        let (target, waited) = (format!("the brakes of {}", request.node), request.wait);
        let answer = self.controller.operator().release_brakes(self.request(request)).await?.into_inner();
        self.tell(
            || json::node_order_of(&target, &answer.order, &answer.nodes),
            || show::order(&target, "released", &answer.nodes),
        )?;
        done_on_nodes(&answer.nodes, waited)
    }

    async fn lift(&self, request: LiftRequest) -> Result<(), CallError> {
        let (dry_run, waited) = (request.dry_run, request.wait);
        let policy = format!("{}@{}", request.policy, request.policy_version);
        let answer = self.controller.operator().lift(self.request(request)).await?.into_inner();
        self.tell(|| json::lifted(&policy, dry_run, &answer), || show::lifted(&policy, dry_run, &answer))?;
        if dry_run { Ok(()) } else { done_on_nodes(&answer.nodes, waited) }
    }

    /// Asks a tenant's mail server from here.
    async fn check_relay(&self, subject: String, port: u16, question: Question) -> Result<(), CallError> {
        let address: Option<IpAddr> = subject.parse().ok();
        // Whose address it is the controller knows: nobody else's server is asked.
        let tenant = self.tenant(subject).await?;
        let address = match address {
            Some(address) => address,
            None => self.only_address(tenant.clone()).await?,
        };
        let checked = reeve_relay_check::ask(SocketAddr::new(address, port), None, question).await;
        let steps: Vec<(String, u16)> =
            checked.transcript.iter().map(|(step, code)| (step.to_string(), *code)).collect();
        let (verdict, trouble) = (checked.verdict, checked.trouble.as_deref());
        let theirs = self.prefixes(tenant.clone()).await?;
        let is_outside = checked.source.is_some_and(|source| is_outside(source, address, &theirs));
        let answer = RelayAnswer { server: address, verdict, is_outside };
        let is_told = port == PORT_SMTP && (answer.is_mended() || answer.is_open());
        if is_told {
            self.ask_to_verify(tenant.clone(), Some(answer), String::new()).await?;
        }
        self.tell(
            || json::relay(&tenant, address, verdict, &steps, trouble, is_told),
            || show::relay(&tenant, address, verdict, &steps, trouble, is_told),
        )?;
        found(verdict)
    }

    /// Has the tenant's node ask its mail server.
    async fn verify(&self, subject: String, key: String) -> Result<(), CallError> {
        let is_address = subject.parse::<IpAddr>().is_ok() || subject.contains('/');
        let request = self.request(GetViolationRequest { id: subject.clone() });
        let tenant = if is_address {
            self.tenant(subject).await?
        } else {
            match self.controller.operator().get_violation(request).await {
                Ok(answer) => answer
                    .into_inner()
                    .violation
                    .map(|violation| violation.tenant)
                    .ok_or(CallError::Answer("it holds no violation"))?,
                Err(status) if status.code() == Code::NotFound => subject,
                Err(status) => return Err(status.into()),
            }
        };
        let answer = self.ask_to_verify(tenant.clone(), None, key).await?;
        self.tell(|| json::verified(&tenant, &answer), || show::verified(&tenant, &answer))?;
        let checked = answer.relay_checked.as_ref().and_then(|checked| checked.answer.as_ref());
        match checked.map(|answer| (answer.verdict(), answer.outside)) {
            Some((WireVerdict::Refused, true)) => Ok(()),
            Some((WireVerdict::Accepted, true)) => found(CheckVerdict::Accepted),
            _ => found(CheckVerdict::Unclear),
        }
    }

    async fn ask_to_verify(
        &self,
        tenant: String,
        answer: Option<RelayAnswer>,
        idempotency_key: String,
    ) -> Result<VerifyResponse, CallError> {
        let answer = answer.as_ref().map(Into::into);
        let request = VerifyRequest { tenant, answer, idempotency_key, wait: true };
        Ok(self.controller.operator().verify(self.request(request)).await?.into_inner())
    }

    /// A tenant's addresses.
    async fn prefixes(&self, id: String) -> Result<Vec<IpNet>, CallError> {
        let request = self.request(ListTenantsRequest { page_size: 1, tenant: id, ..Default::default() });
        let list = self.controller.operator().list_tenants(request).await?.into_inner();
        let tenants = list.tenants.iter().filter_map(|entry| entry.tenant.as_ref());
        let addresses = tenants.flat_map(|tenant| &tenant.addresses);
        let host = |text: &String| text.parse::<IpAddr>().map(IpNet::from).ok();
        Ok(addresses.filter_map(|text| text.parse::<IpNet>().ok().or_else(|| host(text))).collect())
    }

    /// The address of a tenant that has one only.
    async fn only_address(&self, id: String) -> Result<IpAddr, CallError> {
        let request =
            self.request(ListTenantsRequest { page_size: 1, tenant: id.clone(), ..Default::default() });
        let list = self.controller.operator().list_tenants(request).await?.into_inner();
        let prefixes: Vec<&str> = list
            .tenants
            .iter()
            .filter_map(|entry| entry.tenant.as_ref())
            .flat_map(|tenant| tenant.addresses.iter().map(String::as_str))
            .collect();
        let host = |prefix: &&str| {
            let (address, len) = prefix.split_once('/').unwrap_or((prefix, ""));
            let address: IpAddr = address.parse().ok()?;
            let is_host = matches!((address.is_ipv4(), len), (_, "") | (true, "32") | (false, "128"));
            is_host.then_some(address)
        };
        if list.tenants.is_empty() {
            return Err(tonic::Status::not_found(format!("there is no tenant {id}")).into());
        }
        match prefixes.as_slice() {
            [only] => host(only).ok_or(CallError::WhichServer),
            _ => Err(CallError::WhichServer),
        }
    }

    async fn events(&self, request: ListEventsRequest) -> Result<(), CallError> {
        let list = self.controller.operator().list_events(self.request(request)).await?.into_inner();
        self.tell(|| json::events(&list.events), || show::events(&list.events))
    }

    async fn watch(&self, tenant: String) -> Result<(), CallError> {
        // No timeout: it goes on until somebody ends it.
        let mut events =
            self.controller.operator().watch(Request::new(WatchRequest { tenant })).await?.into_inner();
        // Whatever ends the stream, it ended: the certificate was good.
        while let Some(event) = events.message().await.map_err(|_| CallError::Ended)? {
            self.tell(|| json::event(&event), || show::event(&event))?;
        }
        Err(CallError::Ended)
    }
}

/// What a mail server's answer is to whoever asked for it.
fn found(verdict: CheckVerdict) -> Result<(), CallError> {
    match verdict {
        CheckVerdict::Refused => Ok(()),
        CheckVerdict::Accepted => Err(CallError::Relay(CheckedRelay::Open)),
        _ => Err(CallError::Relay(CheckedRelay::Unknown)),
    }
}

fn target_of(target: Nodes) -> PauseTarget {
    let node = target.node.map(|node| pause_target::Target::Node(node.to_string()));
    PauseTarget { target: Some(node.unwrap_or(pause_target::Target::Fleet(true))) }
}

fn target_name(target: &Nodes) -> String {
    target.node.as_ref().map_or_else(|| "the fleet".to_owned(), ToString::to_string)
}

/// Whether every node has done it; where there is none yet, it is stored for those that come.
fn done_on_nodes(nodes: &[NodeOrder], waited: bool) -> Result<(), CallError> {
    if nodes.is_empty() { Ok(()) } else { done(nodes, waited) }
}

pub(crate) fn done(nodes: &[NodeOrder], waited: bool) -> Result<(), CallError> {
    let any = |wanted: &[node_order::State]| nodes.iter().any(|node| wanted.contains(&node.state()));
    if any(&[node_order::State::Failed]) {
        return Err(CallError::NotDone);
    }
    // Asked not to wait, nobody expects an answer yet.
    if waited && (nodes.is_empty() || any(&[node_order::State::Sent, node_order::State::Stored])) {
        return Err(CallError::NotYet);
    }
    Ok(())
}
