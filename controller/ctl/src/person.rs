//! Accounts of people, and logging in: calls, and their answers shown.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use reeve_policy::Name;
use reeve_proto::operator::v1::{
    AddPersonRequest, BeginSetUpRequest, BeginSetUpResponse, FinishSetUpRequest, ListPeopleRequest,
    ListSessionsRequest, LoginRequest, LogoutRequest, Person, RemovePersonRequest, ResetPersonRequest,
    RevokeSessionRequest, Session,
};
use serde_json::{Value, json};

use crate::access::{role_of, role_word};
use crate::args::{PersonCommand, SessionsCommand};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::show::{cells, facts, table, when};

const NO_PERSON: CallError = CallError::Answer("it holds no account");
const NO_SESSION: CallError = CallError::Answer("it holds no session");

impl Call {
    pub(crate) async fn person(&self, command: PersonCommand) -> Result<(), CallError> {
        match command {
            PersonCommand::Add { name, role, addresses } => {
                let request =
                    AddPersonRequest { name: name.to_string(), role: role_of(role).into(), addresses };
                let made = self.controller.people().add_person(self.request(request)).await?.into_inner();
                self.invitation(made.person, made.invitation)
            }
            PersonCommand::Reset { name } => {
                let request = self.request(ResetPersonRequest { name: name.to_string() });
                let made = self.controller.people().reset_person(request).await?.into_inner();
                self.invitation(made.person, made.invitation)
            }
            PersonCommand::List => {
                let request = self.request(ListPeopleRequest {});
                let people = self.controller.people().list_people(request).await?.into_inner().people;
                let all = || json!({ "people": people.iter().map(person_json).collect::<Vec<_>>() });
                self.tell(all, || people_text(&people))
            }
            PersonCommand::Remove { name } => {
                let request = self.request(RemovePersonRequest { name: name.to_string() });
                self.controller.people().remove_person(request).await?;
                self.tell(
                    || json!({ "name": name, "removed": true }),
                    || format!("the account {name} is removed"),
                )
            }
        }
    }

    /// The invitation alone on standard output, so that it can be put into a file without being read by anybody.
    fn invitation(&self, person: Option<Person>, invitation: String) -> Result<(), CallError> {
        let person = person.ok_or(NO_PERSON)?;
        self.tell(
            || json!({ "person": person_json(&person), "invitation": invitation }),
            || invitation.clone(),
        )
    }

    pub(crate) async fn begin_set_up(&self, invitation: &str) -> Result<BeginSetUpResponse, CallError> {
        let request = self.request(BeginSetUpRequest { invitation: invitation.to_owned() });
        Ok(self.controller.people().begin_set_up(request).await?.into_inner())
    }

    pub(crate) async fn finish_set_up(
        &self,
        name: &str,
        invitation: String,
        Typed { password, code }: Typed,
    ) -> Result<(), CallError> {
        let request = self.request(FinishSetUpRequest { invitation, password, code });
        let done = self.controller.people().finish_set_up(request).await?.into_inner();
        let json = || json!({ "name": name, "recovery_codes": done.recovery_codes });
        self.tell(json, || {
            let codes = done.recovery_codes.join("\n  ");
            format!(
                "{name} is set up: reevectl login {name}\n\nEach of these is good once in a code's place. Keep them where your \
                 phone is not:\n\n  {codes}"
            )
        })
    }

    pub(crate) async fn login(&self, name: &Name, Typed { password, code }: Typed) -> Result<(), CallError> {
        let request = self.request(LoginRequest { name: name.to_string(), password, code });
        let begun = self.controller.people().login(request).await?.into_inner();
        let session = begun.session.ok_or(NO_SESSION)?;
        let file = self.controller.keep_session(&begun.token)?;
        let json = || json!({ "session": session_json(&session), "file": file.display().to_string() });
        self.tell(json, || {
            let (role, until) = (role_word(session.role()), when(session.expire_time));
            format!("logged in as {role} {} until {until}; kept in {}", session.person, file.display())
        })
    }

    pub(crate) async fn logout(&self) -> Result<(), CallError> {
        let ended = self.controller.people().logout(self.request(LogoutRequest {})).await;
        // The token goes, whatever the controller says: one that is over already is of no use.
        let file = self.controller.forget_session()?;
        let is_over = ended.as_ref().is_err_and(|status| status.code() == tonic::Code::Unauthenticated);
        if !is_over {
            ended?;
        }
        self.tell(|| json!({ "file": file.display().to_string() }), || "logged out".to_owned())
    }

    pub(crate) async fn sessions(&self, command: Option<SessionsCommand>) -> Result<(), CallError> {
        if let Some(SessionsCommand::Revoke { id }) = command {
            let request = self.request(RevokeSessionRequest { id });
            let ended = self.controller.people().revoke_session(request).await?.into_inner();
            let session = ended.session.ok_or(NO_SESSION)?;
            return self.tell(
                || session_json(&session),
                || format!("the session {} of {} is ended", session.id, session.person),
            );
        }
        let request = self.request(ListSessionsRequest {});
        let sessions = self.controller.people().list_sessions(request).await?.into_inner().sessions;
        let all = || json!({ "sessions": sessions.iter().map(session_json).collect::<Vec<_>>() });
        self.tell(all, || sessions_text(&sessions))
    }
}

/// What somebody typed.
pub(crate) struct Typed {
    password: String,
    code: String,
}

/// Asks for what it takes to log in.
pub(crate) fn ask_login() -> Result<Typed, CallError> {
    let password = ask("password", true)?;
    Ok(Typed { password, code: ask("code, or a recovery code", false)? })
}

/// Asks for an invitation.
pub(crate) fn ask_invitation() -> Result<String, CallError> {
    ask("invitation", true)
}

/// Tells the second factor's secret, and asks for what it takes to set an account up.
pub(crate) fn ask_set_up(begun: &BeginSetUpResponse) -> Result<Typed, CallError> {
    let mut err = std::io::stderr().lock();
    writeln!(err, "Add this to the app that makes your codes, {}:\n\n  {}\n", begun.name, begun.uri)?;
    writeln!(err, "or type its secret: {}\n", begun.secret)?;
    drop(err);
    let password = ask("new password, 12 characters or more", true)?;
    if std::io::stdin().is_terminal() && ask("the same again", true)? != password {
        return Err(CallError::Typed("the two passwords differ"));
    }
    Ok(Typed { password, code: ask("the code that the app shows now", false)? })
}

/// Asks whoever is there; of a program, the next line of standard input. What is secret is not shown while it is typed.
fn ask(what: &str, is_secret: bool) -> Result<String, CallError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() && is_secret {
        return Ok(rpassword::prompt_password(format!("{what}: "))?);
    }
    if stdin.is_terminal() {
        let mut err = std::io::stderr().lock();
        write!(err, "{what}: ")?;
        err.flush()?;
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn person_json(person: &Person) -> Value {
    json!({
        "name": person.name,
        "role": role_word(person.role()),
        "ready": person.ready,
        "addresses": person.addresses,
        "create_time": at(person.create_time),
        "created_by": person.created_by,
        "invited_by": person.invited_by,
        "invitation_expire_time": at(person.invitation_expire_time),
        "recovery_codes": person.recovery_codes,
    })
}

fn people_text(people: &[Person]) -> String {
    if people.is_empty() {
        return "there are no accounts".to_owned();
    }
    let mut rows = vec![cells(["NAME", "ROLE", "STATE", "FROM", "ADDED", "INVITED BY", "RECOVERY CODES"])];
    rows.extend(people.iter().map(|person| {
        let state = match (person.ready, person.invitation_expire_time) {
            (true, _) => "ready".to_owned(),
            (false, until) => format!("invited until {}", when(until)),
        };
        let from =
            if person.addresses.is_empty() { "anywhere".to_owned() } else { person.addresses.join(" ") };
        vec![
            person.name.clone(),
            role_word(person.role()).to_owned(),
            state,
            from,
            when(person.create_time),
            person.invited_by.clone(),
            person.recovery_codes.to_string(),
        ]
    }));
    table(&rows)
}

fn session_json(session: &Session) -> Value {
    json!({
        "id": session.id,
        "person": session.person,
        "role": role_word(session.role()),
        "create_time": at(session.create_time),
        "expire_time": at(session.expire_time),
        "seen_time": at(session.seen_time),
        "address": session.address,
    })
}

fn sessions_text(sessions: &[Session]) -> String {
    if let [only] = sessions {
        return facts(&[
            ("session", only.id.clone()),
            ("of", format!("{} {}", role_word(only.role()), only.person)),
            ("since", when(only.create_time)),
            ("used", when(only.seen_time)),
            ("until", when(only.expire_time)),
            ("from", only.address.clone()),
        ]);
    }
    if sessions.is_empty() {
        return "nobody is logged in".to_owned();
    }
    let mut rows = vec![cells(["SESSION", "WHO", "ROLE", "SINCE", "USED", "UNTIL", "FROM"])];
    rows.extend(sessions.iter().map(|one| {
        vec![
            one.id.clone(),
            one.person.clone(),
            role_word(one.role()).to_owned(),
            when(one.create_time),
            when(one.seen_time),
            when(one.expire_time),
            one.address.clone(),
        ]
    }));
    table(&rows)
}
