//! `PersonService`: accounts of people, and their sessions.

use std::sync::Arc;
use std::time::Duration;

use reeve_policy::{Name, Timestamp};
use reeve_proto::operator::v1::person_service_server::PersonService;
use reeve_proto::operator::v1::{
    AddPersonRequest, AddPersonResponse, BeginSetUpRequest, BeginSetUpResponse, FinishSetUpRequest,
    FinishSetUpResponse, ListPeopleRequest, ListPeopleResponse, ListSessionsRequest, ListSessionsResponse,
    LoginRequest, LoginResponse, LogoutRequest, LogoutResponse, Person as WirePerson, RemovePersonRequest,
    RemovePersonResponse, ResetPersonRequest, ResetPersonResponse, RevokeSessionRequest,
    RevokeSessionResponse, Session as WireSession,
};
use reeve_proto::{duration_to_wire, time_to_wire};
use tonic::{Request, Response, Status};

use super::access::{change, name, prefixes, role, role_to_wire};
use super::{House, unwritable};
use crate::audit::{self, Draft};
use crate::auth::{
    Caller, Change, Factors, Hash, LoggedIn, MAX_LINE, Person, Role, Second, Secret, Session, SetUp, Shown,
    Taken, network, password,
};
use crate::clock;
use crate::identity;
use crate::refusal::Reason;

/// How long an invitation holds.
const INVITED: Duration = Duration::from_secs(24 * 3_600);
/// So long whoever logs out has to be answered, before the connections are cut over which the session was shown.
const ANSWERED: Duration = Duration::from_secs(1);
/// How often it is kept when sessions were used last.
const KEPT_EVERY: Duration = Duration::from_secs(60);
/// What the second factor's secret is derived for, of an invitation.
const FACTOR: &str = "second factor";
/// The longest code that is looked at.
const MAX_CODE: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub house: House,
}

#[tonic::async_trait]
impl PersonService for Service {
    async fn add_person(
        &self,
        request: Request<AddPersonRequest>,
    ) -> Result<Response<AddPersonResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let (name, role) = (name("name", &request.name)?, role(request.role())?);
        if identity::parse(&format!("reeve://{role}/{name}")).is_none() {
            let text = format!(
                "name: `{name}` is what the controller calls others: `local`, and what begins with `token.`"
            );
            return Err(Status::invalid_argument(text));
        }
        let addresses = prefixes("addresses", &request.addresses)?;
        let (secret, now) = (new_secret(Secret::INVITATION)?, clock::now());
        let person = Person {
            name: name.clone(),
            role,
            addresses,
            created: now,
            created_by: caller.name.to_string(),
            invited_by: self.inviters(&caller, &name)?,
            invitation: Some((secret.hash(), now + INVITED)),
            factors: None,
            networks: Vec::new(),
            recovery_codes: 0,
        };
        let wire = person_to_wire(&person);
        match change(&self.house, Change::PersonAdded(person)).await? {
            Taken::Done => {}
            Taken::Full => {
                return Err(Status::resource_exhausted("there are too many accounts: remove some"));
            }
            Taken::Exists | Taken::Gone => {
                return Err(Status::already_exists(format!(
                    "there is an account {name}: reset or remove it"
                )));
            }
        }
        tracing::info!(%caller, %name, %role, "an account was added");
        Ok(Response::new(AddPersonResponse { person: Some(wire), invitation: secret.into_text() }))
    }

    async fn list_people(
        &self,
        _: Request<ListPeopleRequest>,
    ) -> Result<Response<ListPeopleResponse>, Status> {
        let people = self.house.book.people().iter().map(|person| person_to_wire(person)).collect();
        Ok(Response::new(ListPeopleResponse { people }))
    }

    async fn reset_person(
        &self,
        request: Request<ResetPersonRequest>,
    ) -> Result<Response<ResetPersonResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let name = name("name", &request.into_inner().name)?;
        let secret = new_secret(Secret::INVITATION)?;
        let at = clock::now();
        let reset = Change::PersonReset {
            name: name.clone(),
            invitation: (secret.hash(), at + INVITED),
            at,
            invited_by: self.inviters(&caller, &name)?,
        };
        if change(&self.house, reset).await? != Taken::Done {
            return Err(no_account(&name));
        }
        tracing::warn!(%caller, %name, "an account was reset");
        let person = self.house.book.person(&name).map(|person| person_to_wire(&person));
        Ok(Response::new(ResetPersonResponse { person, invitation: secret.into_text() }))
    }

    async fn remove_person(
        &self,
        request: Request<RemovePersonRequest>,
    ) -> Result<Response<RemovePersonResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let name = name("name", &request.into_inner().name)?;
        let removed = Change::PersonRemoved { name: name.clone(), at: clock::now() };
        if change(&self.house, removed).await? != Taken::Done {
            return Err(no_account(&name));
        }
        tracing::warn!(%caller, %name, "an account was removed");
        Ok(Response::new(RemovePersonResponse {}))
    }

    async fn begin_set_up(
        &self,
        request: Request<BeginSetUpRequest>,
    ) -> Result<Response<BeginSetUpResponse>, Status> {
        let from = Caller::of(request.extensions())?.from;
        let hash = Hash::of(request.into_inner().invitation.trim());
        let person = self.invited(&hash, from)?;
        let (secret, uri) = password::told(person.name.as_str(), &self.factor(&hash));
        Ok(Response::new(BeginSetUpResponse { name: person.name.to_string(), secret, uri }))
    }

    async fn finish_set_up(
        &self,
        request: Request<FinishSetUpRequest>,
    ) -> Result<Response<FinishSetUpResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let FinishSetUpRequest { invitation, password: text, code } = request.into_inner();
        let hash = Hash::of(invitation.trim());
        let person = self.invited(&hash, caller.from)?;
        if !(password::SHORTEST..=password::LONGEST).contains(&text.len()) {
            let (least, most) = (password::SHORTEST, password::LONGEST);
            return Err(Status::invalid_argument(format!("password: {least} to {most} bytes")));
        }
        let (factor, now) = (self.factor(&hash), clock::now());
        let Some(last_step) = password::step_of(&factor, code.trim(), now, 0) else {
            return Err(Status::invalid_argument("code: not that of now; are the clocks of both right?"));
        };
        let password = self.house.door.make(text).await.map_err(|refused| busy(&refused))?;
        let secret = self.house.vault.hide(person.name.as_str(), &factor).map_err(|_| no_randomness())?;
        let codes = password::recovery_codes().map_err(|_| no_randomness())?;
        let set_up = SetUp {
            name: person.name.clone(),
            invitation: hash,
            factors: Factors { password, secret, last_step },
            recovery: codes.iter().map(|(_, hash)| *hash).collect(),
            at: clock::now(),
        };
        if change(&self.house, Change::PersonSetUp(set_up)).await? != Taken::Done {
            return Err(not_invited());
        }
        self.record(&person, &caller, "FinishSetUp").await?;
        tracing::info!(name = %person.name, "an account was set up");
        Ok(Response::new(FinishSetUpResponse {
            recovery_codes: codes.into_iter().map(|(told, _)| told).collect(),
        }))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let LoginRequest { name, password: text, code } = request.into_inner();
        let network = caller.from.map(network);
        let person = name.parse().ok().and_then(|name: Name| self.house.book.person(&name));
        let is_known =
            person.as_ref().is_some_and(|person| network.is_some_and(|net| person.networks.contains(&net)));
        // A name is cut to what names can be, so that no other spelling of it has a count of its own.
        let named: String = name.chars().take(Name::MAX_LEN + 1).collect();
        self.house.door.attempt(&named, network, is_known, clock::now()).map_err(|wait| {
            self.tell_failed(person.as_deref(), &caller, true);
            let text = format!(
                "too many failed under this name from your network; wait {} s",
                wait.as_secs().max(1)
            );
            Reason::LoginWait.about(text, [("seconds", wait.as_secs().max(1).to_string())])
        })?;
        let account = person.clone();
        let factors = person.as_ref().and_then(|person| person.factors.clone());
        let kept =
            factors.as_ref().map_or_else(|| password::NOBODY.clone(), |factors| factors.password.clone());
        // All of it is done, whoever it is: neither the answer nor the time it takes tells whether there is such an account.
        let is_right =
            self.house.door.compare(kept, text, is_known).await.map_err(|refused| busy(&refused))?;
        let second = self.second(person.as_deref(), factors.as_ref(), &code);
        // One that is no code at all, or of a time that is not now; one that was used is found below.
        if let (Some(person), Some(factors), true) = (&person, &factors, is_right)
            && (second.is_none() || !is_known)
        {
            if second.is_none() {
                self.see_wrong_code(person, factors, &caller);
            } else if self.house.door.is_guessed(&person.name, &factors.password, clock::now()) {
                self.see_wrong_code(person, factors, &caller);
                return Err(self.wrong(&named, account.as_deref(), &caller));
            }
        }
        let (Some(person), Some(factors), Some(second), true) = (person, factors, second, is_right) else {
            return Err(self.wrong(&named, account.as_deref(), &caller));
        };
        if !person.is_taken_from(caller.from) {
            return Err(self.wrong(&named, account.as_deref(), &caller));
        }
        let (token, now) = (new_secret(Secret::SESSION)?, clock::now());
        let session = Session::new(
            token.hash(),
            crate::approval::new_id(now).map_err(|_| no_randomness())?,
            person.name.clone(),
            person.role,
            now,
            now + self.house.sessions.life,
            caller.from.map(|from| from.to_string()).unwrap_or_default(),
            now,
        );
        let wire = session_to_wire(&session);
        let password = factors.password.clone();
        let logged = LoggedIn { session, password, second, network };
        match change(&self.house, Change::LoggedIn(Box::new(logged))).await? {
            Taken::Done => {}
            Taken::Full => {
                let text = "a hundred of your sessions are open: end some (reevectl sessions)";
                return Err(Status::resource_exhausted(text));
            }
            // The code was used before, or the account was reset meanwhile.
            Taken::Gone | Taken::Exists => {
                self.see_wrong_code(&person, &factors, &caller);
                return Err(self.wrong(&named, account.as_deref(), &caller));
            }
        }
        self.house.door.right(&named, network);
        self.record(&person, &caller, "Login").await?;
        tracing::info!(name = %person.name, from = ?caller.from, "somebody logged in");
        let idle = Some(duration_to_wire(self.house.sessions.idle));
        Ok(Response::new(LoginResponse { token: token.into_text(), session: Some(wire), idle }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let shown = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = shown.and_then(|text| text.split_once(' ')).map(|(_, token)| token.trim());
        match (caller.shown, token) {
            (Shown::Session, Some(token)) => {
                let hash = Hash::of(token);
                change(&self.house, Change::LoggedOut(hash)).await?;
                let book = self.house.book.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(ANSWERED).await;
                    book.cut(&hash);
                });
                Ok(Response::new(LogoutResponse {}))
            }
            _ => Err(Status::failed_precondition("no session is shown, so none is ended")),
        }
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let sessions = self.sessions_of(caller).iter().map(session_to_wire).collect();
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let id = request.into_inner().id;
        let gone = || Status::not_found(format!("there is no session {id:.40} that you may end"));
        let found =
            self.sessions_of(&caller).into_iter().find(|session| session.id == id).ok_or_else(gone)?;
        if change(&self.house, Change::SessionEnded(found.hash)).await? != Taken::Done {
            return Err(gone());
        }
        tracing::info!(%caller, id, of = %found.person, "a session was ended");
        Ok(Response::new(RevokeSessionResponse { session: Some(session_to_wire(&found)) }))
    }
}

impl Service {
    /// The line of those who invite somebody now, with those who had before, of an account that is reset: it may still be in their hands.
    fn inviters(&self, caller: &Caller, whom: &Name) -> Result<Vec<Name>, Status> {
        // A token of nobody's is one of its own.
        let mut line = self.house.book.line(caller.shown, caller.owner.as_ref().unwrap_or(&caller.name));
        let before = self.house.book.person(whom).map(|person| person.invited_by.clone()).unwrap_or_default();
        for name in before {
            if !line.contains(&name) {
                line.push(name);
            }
        }
        if line.len() > MAX_LINE {
            let text = format!("those who invited each other up to this account are more than {MAX_LINE}");
            return Err(Status::resource_exhausted(text));
        }
        Ok(line)
    }

    /// The second factor's secret that goes with an invitation, for whoever has that.
    fn factor(&self, invitation: &Hash) -> Vec<u8> {
        let mut secret = self.house.vault.seal(FACTOR, &[invitation.as_bytes()]);
        secret.truncate(password::SECRET_BYTES);
        secret
    }

    /// Whose invitation it is, if it holds.
    fn invited(&self, hash: &Hash, from: Option<std::net::IpAddr>) -> Result<Arc<Person>, Status> {
        let now = clock::now();
        let is_it = |person: &&Arc<Person>| {
            person.invitation.as_ref().is_some_and(|(own, until)| own == hash && now < *until)
        };
        let people = self.house.book.people();
        let found = people.iter().find(is_it).filter(|person| person.is_taken_from(from));
        found.cloned().ok_or_else(|| {
            self.house.gate.see_failure(from);
            not_invited()
        })
    }

    /// What is shown beside the password, if it is good.
    fn second(&self, person: Option<&Person>, factors: Option<&Factors>, code: &str) -> Option<Second> {
        let code = Some(code.trim()).filter(|code| code.len() <= MAX_CODE)?;
        let (person, factors) = (person?, factors?);
        let is_digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits {
            // Whether it is one of theirs is looked at when it is used up.
            return (!code.is_empty()).then(|| Second::Recovery(password::recovery_hash(code)));
        }
        let Some(secret) = self.house.vault.show(person.name.as_str(), &factors.secret) else {
            tracing::error!(name = %person.name, "A SECOND FACTOR CANNOT BE READ: is secrets.key the one it was set up with? Reset the account");
            return None;
        };
        password::step_of(&secret, code, clock::now(), factors.last_step).map(Second::Code)
    }

    /// Whoever has the password does not have the second factor. That many such are no mistake somebody should know.
    fn see_wrong_code(&self, person: &Person, factors: &Factors, caller: &Caller) {
        let now = clock::now();
        let count = self.house.door.wrong_code(&person.name, &factors.password, now);
        if self.house.door.is_guessed(&person.name, &factors.password, now) {
            tracing::warn!(
                name = %person.name, from = ?caller.from, count,
                "SOMEBODY HAS A PASSWORD AND GUESSES THE CODES: they are taken from networks alone that logged in before; reset the account"
            );
        }
    }

    /// What everybody is told who is not let in.
    fn wrong(&self, name: &str, account: Option<&Person>, caller: &Caller) -> Status {
        self.house.gate.see_failure(caller.from);
        self.tell_failed(account, caller, false);
        tracing::warn!(name, from = ?caller.from, "somebody failed to log in");
        Reason::LoginFailed.status(Reason::LoginFailed.meaning())
    }

    /// Tells log servers.
    fn tell_failed(&self, account: Option<&Person>, caller: &Caller, is_held_off: bool) {
        let account = account.map(|person| person.name.clone());
        self.house.door.tell(account, caller.from, is_held_off, clock::now());
    }

    fn sessions_of(&self, caller: &Caller) -> Vec<Session> {
        let now = clock::now();
        let mut all = self.house.book.sessions();
        let may_see =
            |session: &Session| caller.role == Role::Admin || caller.owner.as_ref() == Some(&session.person);
        all.retain(|session| {
            now < session.expires && now < session.seen() + self.house.sessions.idle && may_see(session)
        });
        all
    }

    /// Enters in the audit log what a stranger did rightly; what failed is not, or anybody could fill it.
    async fn record(&self, person: &Person, caller: &Caller, act: &str) -> Result<(), Status> {
        let draft = Draft {
            who: person.name.to_string(),
            role: person.role.to_string(),
            from: caller.from.map(|from| from.to_string()).unwrap_or_default(),
            act: act.to_owned(),
            subject: format!("person/{}", person.name),
            outcome: "done".to_owned(),
            ..Draft::default()
        };
        audit::enter(&self.house.writer, draft).await.map(drop).map_err(unwritable)
    }
}

fn new_secret(prefix: &str) -> Result<Secret, Status> {
    Secret::new(prefix).map_err(|_| no_randomness())
}

fn no_randomness() -> Status {
    Status::internal("the system has no randomness")
}

fn busy(refused: &crate::auth::Busy) -> Status {
    Status::resource_exhausted(refused.to_string())
}

fn not_invited() -> Status {
    Status::unauthenticated(
        "the invitation is none, is over, or was used: an administrator makes another (reevectl person reset)",
    )
}

fn no_account(name: &Name) -> Status {
    Status::not_found(format!("there is no account {name}"))
}

fn person_to_wire(person: &Person) -> WirePerson {
    let until = person.invitation.as_ref().map(|(_, until): &(Hash, Timestamp)| time_to_wire(*until));
    WirePerson {
        name: person.name.to_string(),
        role: role_to_wire(person.role).into(),
        addresses: person.addresses.iter().map(ToString::to_string).collect(),
        create_time: Some(time_to_wire(person.created)),
        created_by: person.created_by.clone(),
        ready: person.factors.is_some(),
        invitation_expire_time: until,
        invited_by: person.invited_by.first().map(ToString::to_string).unwrap_or_default(),
        recovery_codes: person.recovery_codes,
    }
}

fn session_to_wire(session: &Session) -> WireSession {
    WireSession {
        id: session.id.clone(),
        person: session.person.to_string(),
        role: role_to_wire(session.role).into(),
        create_time: Some(time_to_wire(session.created)),
        expire_time: Some(time_to_wire(session.expires)),
        seen_time: Some(time_to_wire(session.seen())),
        address: session.address.clone(),
    }
}

/// Keeps on disk when sessions were used last, to the minute, and ends those that are over: what they watch does not go on.
pub(crate) async fn keep_seen(house: House) {
    let mut told: std::collections::HashMap<Hash, Timestamp> = std::collections::HashMap::new();
    loop {
        tokio::time::sleep(KEPT_EVERY).await;
        let (sessions, now) = (house.book.sessions(), clock::now());
        // At another controller one may have been used since; that is known here a little later.
        let is_over = |session: &&Session| {
            now >= session.expires || now >= session.seen() + house.sessions.idle + KEPT_EVERY * 2
        };
        for session in sessions.iter().filter(is_over) {
            if let Err(error) = change(&house, Change::SessionEnded(session.hash)).await {
                tracing::warn!(%error, "a session that is over could not be ended");
            }
        }
        let is_newer = |session: &&Session| told.get(&session.hash).is_none_or(|told| *told < session.seen());
        let seen: Vec<(Hash, Timestamp)> =
            sessions.iter().filter(is_newer).map(|session| (session.hash, session.seen())).collect();
        told = sessions.iter().map(|session| (session.hash, session.seen())).collect();
        if !seen.is_empty()
            && let Err(error) = change(&house, Change::SessionsSeen(seen)).await
        {
            tracing::warn!(%error, "when sessions were used last could not be kept");
        }
    }
}
