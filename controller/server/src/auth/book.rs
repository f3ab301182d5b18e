//! Who may call, in memory: what the database holds of it.
//!
//! The writer enters a change here after it is on disk and before whoever ordered it is told.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ipnet::IpNet;
use reeve_policy::{Name, NodeId, Timestamp};

use super::caller::{Caller, Role, Shown};
use super::connections::{Connections, Credential};
use super::people::{LoggedIn, Person, Second, Session, SetUp, line, with_network};
use super::secret::Hash;

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The hash of what is shown.
    pub hash: Hash,
    /// Its name, without [`super::Caller::TOKEN`].
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// The first characters of what is shown.
    pub beginning: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The person behind that; `None` of one from before that was written down, if a token made it.
    pub owner: Option<Name>,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// From where alone it is taken; from everywhere if there is none.
    pub addresses: Vec<IpNet>,
}

impl Token {
    /// Whether it is good at a time, wherever it is shown.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }

    /// Whether it stands for somebody: made by them, or by a token of theirs.
    #[must_use]
    pub fn is_of(&self, person: &Name) -> bool {
        self.owner.as_ref() == Some(person)
    }
}

/// Whose certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node's.
    Node(Name),
    /// Those of somebody with a role, whichever.
    Person(Name),
}

impl Subject {
    /// Of whom a certificate with a role is.
    #[must_use]
    pub fn of(role: Role, name: &Name) -> Self {
        if role == Role::Node { Self::Node(name.clone()) } else { Self::Person(name.clone()) }
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('/')?;
        let name = name.parse().ok()?;
        match kind {
            "node" => Some(Self::Node(name)),
            "person" => Some(Self::Person(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Person(name) => write!(f, "person/{name}"),
        }
    }
}

/// A token by which a node fetches its first certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The hash of what is shown.
    pub hash: Hash,
    /// The node.
    pub node: NodeId,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// Somebody's certificates are not taken any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub subject: Subject,
    /// Those of a line that began at this time or before.
    pub at: Timestamp,
    /// Who revoked them.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// All that is kept of who may call.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Tokens by the hash of what is shown.
    pub tokens: HashMap<Hash, Arc<Token>>,
    /// Enrolment tokens that were not used, by the hash of what is shown.
    pub enrolments: HashMap<Hash, Arc<Enrolment>>,
    /// Whose certificates are not taken.
    pub revocations: HashMap<Subject, Revocation>,
    /// Accounts by name.
    pub people: HashMap<Name, Arc<Person>>,
    /// Sessions by the hash of what is shown.
    pub sessions: HashMap<Hash, Session>,
}

/// A change of who may call.
#[derive(Clone, Debug)]
pub enum Change {
    /// A token was made.
    TokenMade(Token),
    /// A token was revoked.
    TokenRevoked {
        /// Its hash.
        hash: Hash,
        /// When.
        at: Timestamp,
    },
    /// A node may enrol, by this token alone.
    EnrolmentMade(Enrolment),
    /// A node has enrolled.
    EnrolmentUsed {
        /// The token's hash.
        hash: Hash,
        /// When.
        at: Timestamp,
    },
    /// Certificates were revoked.
    Revoked(Revocation),
    /// An account was added.
    PersonAdded(Person),
    /// An account is to be set up anew, and its sessions and tokens are over.
    PersonReset {
        /// Whose.
        name: Name,
        /// The new invitation, and until when it holds.
        invitation: (Hash, Timestamp),
        /// The line of those who invite, as it is from now on.
        invited_by: Vec<Name>,
        /// When.
        at: Timestamp,
    },
    /// An account was removed, and its sessions and tokens with it.
    PersonRemoved {
        /// Whose.
        name: Name,
        /// When.
        at: Timestamp,
    },
    /// An account was set up.
    PersonSetUp(SetUp),
    /// Somebody logged in.
    LoggedIn(Box<LoggedIn>),
    /// A session was ended.
    SessionEnded(Hash),
    /// A session was ended by itself: whoever did is answered before what it was shown over is cut, which is left to them.
    LoggedOut(Hash),
    /// When sessions were used last.
    SessionsSeen(Vec<(Hash, Timestamp)>),
}

impl Change {
    /// Whose sessions and tokens a change ends, and when.
    #[must_use]
    pub const fn ends_person(&self) -> Option<(&Name, Timestamp)> {
        match self {
            Self::PersonReset { name, at, .. }
            | Self::PersonRemoved { name, at }
            | Self::Revoked(Revocation { subject: Subject::Person(name), at, .. }) => Some((name, *at)),
            _ => None,
        }
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in force.
    Done,
    /// What it is about is not there, or not any more.
    Gone,
    /// There is one of that name already.
    Exists,
    /// There are too many.
    Full,
}

impl Records {
    /// A node enrols by the last token that was made for it.
    fn forget_enrolments(&mut self, node: &NodeId) {
        self.enrolments.retain(|_, enrolment| enrolment.node != *node);
    }

    /// The sessions and tokens that a change ends.
    fn ended(&self, change: &Change) -> Vec<Hash> {
        if let Change::SessionEnded(hash) = change {
            return vec![*hash];
        }
        let Some((name, _)) = change.ends_person() else { return Vec::new() };
        let sessions = self.sessions.values().filter(|session| session.person == *name);
        let tokens = self.tokens.values().filter(|token| token.is_of(name) && token.revoked.is_none());
        sessions.map(|session| session.hash).chain(tokens.map(|token| token.hash)).collect()
    }

    /// Enters a change.
    fn enter(&mut self, change: &Change) {
        // What somebody made does not outlive what they are: else who had their account for a minute has it for two years.
        if let Some((name, at)) = change.ends_person() {
            for token in self.tokens.values_mut().filter(|token| token.is_of(name)) {
                Arc::make_mut(token).revoked.get_or_insert(at);
            }
        }
        match change {
            Change::TokenMade(token) => {
                self.tokens.insert(token.hash, Arc::new(token.clone()));
            }
            Change::TokenRevoked { hash, at } => {
                if let Some(token) = self.tokens.get_mut(hash) {
                    Arc::make_mut(token).revoked.get_or_insert(*at);
                }
            }
            Change::EnrolmentMade(enrolment) => {
                self.forget_enrolments(&enrolment.node);
                self.enrolments.insert(enrolment.hash, Arc::new(enrolment.clone()));
            }
            Change::EnrolmentUsed { hash, .. } => _ = self.enrolments.remove(hash),
            Change::Revoked(revocation) => {
                if let Subject::Node(node) = &revocation.subject {
                    self.forget_enrolments(node);
                }
                self.revocations.insert(revocation.subject.clone(), revocation.clone());
            }
            Change::PersonAdded(person) => {
                self.people.insert(person.name.clone(), Arc::new(person.clone()));
            }
            Change::PersonReset { name, invitation, invited_by, .. } => {
                self.sessions.retain(|_, session| session.person != *name);
                if let Some(person) = self.people.get_mut(name) {
                    let person = Arc::make_mut(person);
                    person.invitation = Some(*invitation);
                    person.invited_by.clone_from(invited_by);
                    (person.factors, person.recovery_codes) = (None, 0);
                    person.networks.clear();
                }
            }
            Change::PersonRemoved { name, .. } => {
                self.sessions.retain(|_, session| session.person != *name);
                self.people.remove(name);
            }
            Change::PersonSetUp(set_up) => {
                if let Some(person) = self.people.get_mut(&set_up.name) {
                    let person = Arc::make_mut(person);
                    person.invitation = None;
                    person.factors = Some(set_up.factors.clone());
                    person.recovery_codes = u32::try_from(set_up.recovery.len()).unwrap_or(u32::MAX);
                }
            }
            Change::LoggedIn(logged) => {
                let session = &logged.session;
                self.sessions.retain(|_, other| session.created < other.expires);
                self.sessions.insert(session.hash, session.clone());
                if let Some(person) = self.people.get_mut(&session.person) {
                    let person = Arc::make_mut(person);
                    person.networks = with_network(&person.networks, logged.network);
                    match (&mut person.factors, logged.second) {
                        (Some(factors), Second::Code(step)) => {
                            factors.last_step = factors.last_step.max(step)
                        }
                        (_, Second::Recovery(_)) => {
                            person.recovery_codes = person.recovery_codes.saturating_sub(1);
                        }
                        (None, Second::Code(_)) => {}
                    }
                }
            }
            Change::SessionEnded(hash) | Change::LoggedOut(hash) => _ = self.sessions.remove(hash),
            Change::SessionsSeen(_) => {}
        }
    }
}

/// Who may call, and over which connections they do. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Book {
    records: Arc<RwLock<Records>>,
    connections: Connections,
}

impl Book {
    /// Begins with what the database holds.
    #[must_use]
    pub fn new(records: Records) -> Self {
        Self { records: Arc::new(RwLock::new(records)), connections: Connections::default() }
    }

    /// Begins anew with what the database holds, and cuts the connections of whoever another controller was told to refuse.
    pub(crate) fn replace(&self, records: Records) {
        let mut current = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, records);
        for session in current.sessions.values() {
            if let Some(before) = before.sessions.get(&session.hash) {
                session.see(before.seen());
            }
        }
        let gone = before.sessions.keys().filter(|hash| !current.sessions.contains_key(*hash));
        let gone: Vec<Credential> = gone.map(|hash| Credential::Token(*hash)).collect();
        let was_good = |hash| before.tokens.get(hash).is_some_and(|token| token.revoked.is_none());
        let ended = current.tokens.values().filter(|token| token.revoked.is_some() && was_good(&token.hash));
        let ended = ended.map(|token| Credential::Token(token.hash));
        let is_new =
            |revocation: &&Revocation| before.revocations.get(&revocation.subject) != Some(*revocation);
        let revoked = current.revocations.values().filter(is_new);
        let revoked = revoked.map(|revocation| Credential::Certificate(revocation.subject.clone()));
        let cut: Vec<Credential> = ended.chain(revoked).chain(gone).collect();
        drop(current);
        cut.iter().for_each(|credential| _ = self.connections.cut(credential));
    }

    /// Enters a change that is on disk, and cuts the connections of whoever may not call any more; how many there were.
    pub(crate) fn enter(&self, change: &Change) -> usize {
        let ended = {
            let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
            let ended = records.ended(change);
            records.enter(change);
            ended
        };
        // After it is entered: who shows it from now on is refused, who had shown it before is found.
        match change {
            Change::TokenRevoked { hash, .. } => self.connections.cut(&Credential::Token(*hash)),
            Change::Revoked(revocation) => {
                let of_others: usize =
                    ended.iter().map(|hash| self.connections.cut(&Credential::Token(*hash))).sum();
                of_others + self.connections.cut(&Credential::Certificate(revocation.subject.clone()))
            }
            _ => ended.iter().map(|hash| self.connections.cut(&Credential::Token(*hash))).sum(),
        }
    }

    /// Cuts the connections over which a session's or other token was shown.
    pub(crate) fn cut(&self, hash: &Hash) {
        self.connections.cut(&Credential::Token(*hash));
    }

    /// The connections.
    #[must_use]
    pub const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The enrolment of which a hash is, unless it was used.
    #[must_use]
    pub fn enrolment(&self, hash: &Hash) -> Option<Arc<Enrolment>> {
        self.read().enrolments.get(hash).cloned()
    }

    /// When the certificates of a line that began at a time were revoked, if they were.
    #[must_use]
    pub fn revoked(&self, subject: &Subject, began: Option<Timestamp>) -> Option<Timestamp> {
        let at = self.read().revocations.get(subject)?.at;
        (began.unwrap_or(Timestamp::EPOCH) <= at).then_some(at)
    }

    /// Whose certificates were revoked, the latest first.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        let mut all: Vec<Revocation> = self.read().revocations.values().cloned().collect();
        all.sort_by(|one, other| (other.at, &one.subject).cmp(&(one.at, &other.subject)));
        all
    }

    /// The token of which a hash is.
    #[must_use]
    pub fn token(&self, hash: &Hash) -> Option<Arc<Token>> {
        self.read().tokens.get(hash).cloned()
    }

    /// Whether what somebody showed before would be taken now, for the same role.
    #[must_use]
    pub fn is_still(&self, caller: &Caller, now: Timestamp) -> bool {
        match caller.shown {
            Shown::Certificate => {
                self.revoked(&Subject::of(caller.role, &caller.name), caller.began).is_none()
            }
            Shown::Token => self.read().tokens.values().any(|token| {
                let is_named = caller.name.as_str().strip_prefix(Caller::TOKEN) == Some(token.name.as_str());
                is_named && token.is_good(now) && token.role == caller.role && token.owner == caller.owner
            }),
            // The session may be over; the account must be there, with the role.
            Shown::Session => {
                let is_revoked = self.revoked(&Subject::Person(caller.name.clone()), caller.began).is_some();
                let person = self.person(&caller.name);
                !is_revoked
                    && person.is_some_and(|person| person.role == caller.role && person.factors.is_some())
            }
            Shown::Local => true,
            Shown::Nothing => false,
        }
    }

    /// An account.
    #[must_use]
    pub fn person(&self, name: &Name) -> Option<Arc<Person>> {
        self.read().people.get(name).cloned()
    }

    /// Somebody who calls, and all who might have made them up. With a certificate nobody else has made them: it takes the key of
    /// the authority. A token stands for who made it.
    #[must_use]
    pub fn line(&self, shown: Shown, owner: &Name) -> Vec<Name> {
        match shown {
            Shown::Certificate | Shown::Local => vec![owner.clone()],
            Shown::Token | Shown::Session | Shown::Nothing => line(&self.read().people, owner),
        }
    }

    /// All accounts, by name.
    #[must_use]
    pub fn people(&self) -> Vec<Arc<Person>> {
        let mut all: Vec<Arc<Person>> = self.read().people.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The session of which a hash is.
    #[must_use]
    pub fn session(&self, hash: &Hash) -> Option<Session> {
        self.read().sessions.get(hash).cloned()
    }

    /// All sessions, the newest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let mut all: Vec<Session> = self.read().sessions.values().cloned().collect();
        all.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
        all
    }

    /// All tokens, the newest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        let mut all: Vec<Arc<Token>> = self.read().tokens.values().cloned().collect();
        all.sort_by(|one, other| (other.created, &other.name).cmp(&(one.created, &one.name)));
        all
    }

    fn read(&self) -> RwLockReadGuard<'_, Records> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }
}
