//! The command line.

mod access;
mod acts;
mod approval;
mod audit;
mod cases;
mod complaints;
mod outbox;
mod person;
mod rollout;
mod standing;
mod tenants;

use std::path::PathBuf;
use std::time::Duration;

pub use access::{EnrollTokenCommand, RoleArg, TokenCommand, Whose};
pub use acts::{Repeat, Whom};
pub use approval::{ApprovalsCommand, Decide};
pub use audit::{AuditCommand, AuditKey};
pub use cases::{CaseFilter, CasesCommand};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use complaints::{ComplaintFilter, ComplaintsCommand};
pub use outbox::{OutboxCommand, OutboxFilter};
pub use person::{PersonCommand, SessionsCommand};
use reeve_policy::language::Policy;
use reeve_policy::reader::parse_duration;
use reeve_policy::{Month, Name, PolicyVersion, Protocol, Scope, Target, Timestamp};
pub use rollout::{RolloutCommand, ShareArg};
pub use standing::{ExemptArgs, ExemptionsCommand};
pub use tenants::{FormatArg, TenantsCommand};

/// Asks and steers a Reeve controller.
///
/// With credentials (--dir and --as, made by `reeve-controller init`; or --dir and --token-file, made by `reevectl token create`) it
/// speaks TLS and the controller knows who you are.
/// Without, it reaches a controller on this machine that has no certificates either.
#[derive(Debug, Parser)]
#[command(name = "reevectl", version, max_term_width = 100, after_long_help = AFTER)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    /// JSON for programs instead of text for people.
    ///
    /// One object on one line; `watch` writes one an event. Field names are those of the protocol, times are RFC 3339.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "Examples:
  reevectl status customer-17
  reevectl status 203.0.113.10 --json
  reevectl violations --tenant customer-17 --state open
  reevectl evidence 01HF7YAT00000000000000000A --pcapng scan.pcapng
  reevectl explain 01HF7YAT00000000000000000A
  reevectl release customer-17 --reason \"server reinstalled, ticket 4711\"
  reevectl suspend customer-17 --until paid --reason billing
  reevectl suspend --from infected.txt --reason \"part of a botnet, ticket 4712\"
  reevectl paid customer-17 --reason \"invoice 4711\"
  reevectl exempt customer-17 --clause ours/scan --to 198.51.100.0/24 --until 2026-12-31 --reference \"letter 7\" --reason \"pentest\"
  reevectl notices --tenant customer-17 --text
  reevectl policy diff baseline /etc/reeve/policy.toml
  reevectl policy upload /etc/reeve/policy.toml && reevectl policy stage ours@4 --percent 5
  reevectl policy try new.toml --against /etc/reeve/policy.toml --pcap monday.pcap --tenants tenants.toml
  reevectl pause --fleet --lift --reason \"the new policy hits resolvers\"

Exit codes:
  0  it is done
  1  it failed: a node did not do what was ordered, the controller refused; two policies differ, or do something else
  2  the command line is wrong
  3  there is no such tenant, node or violation
  4  the order is stored, and a node has not carried it out yet; or it waits for a second person
 65  a file holds what it must not
 69  the controller cannot be reached
 74  reading or writing failed
 77  not permitted: the certificate or token is not accepted, or its role may not do that";

/// How to reach the controller.
#[derive(Debug, Args)]
pub struct Connection {
    /// The controller's address; by default https://127.0.0.1:7443, without credentials http://127.0.0.1:7443.
    #[arg(long, global = true, value_name = "URL", env = "REEVE_CONTROLLER")]
    pub controller: Option<String>,
    /// The folder with ca.crt and operators/NAME.crt and .key.
    #[arg(long, global = true, value_name = "DIR", env = "REEVE_DIR")]
    pub dir: Option<PathBuf>,
    /// The operator whose certificate is shown.
    #[arg(long = "as", global = true, value_name = "NAME", env = "REEVE_AS")]
    pub operator: Option<Name>,
    /// A file that holds a token and nothing else; --dir then needs ca.crt alone.
    ///
    /// With --as too, the certificate is shown as well, and what the token may do holds.
    #[arg(long, global = true, value_name = "FILE", env = "REEVE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// How long to wait for an answer.
    #[arg(long, global = true, value_name = "TIME", default_value = "15s", value_parser = span)]
    pub timeout: Duration,
}

/// What can be asked and ordered.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tells where a tenant stands: clear, warned, blocked or suspended, why, since when, until when
    Status {
        /// A tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
        #[arg(value_name = "TENANT|ADDRESS|NODE/IFNAME")]
        subject: String,
    },
    /// Lists tenants, or takes them over from a file
    Tenants {
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<TenantsCommand>,
    },
    /// Logs you in with password and second factor; what you do then needs neither certificate nor token file
    ///
    /// Asked for are the password and the code that your app shows, or a recovery code; of a program, two lines of standard input. The
    /// session is kept in a file that only you can read, below $XDG_STATE_HOME or ~/.local/state, until it ends or reevectl logout. With
    /// --as or --token-file it is not shown. --dir needs ca.crt alone.
    Login {
        /// Your account.
        #[arg(value_name = "NAME")]
        name: Name,
    },
    /// Ends your session, and takes its file away
    Logout,
    /// Sets your account up by an invitation: password, second factor, recovery codes
    ///
    /// Asked for are the invitation, a new password, and the code that your app shows; of a program, three lines of standard input.
    SetUp,
    /// Lists who is logged in, or ends a session: your own, and anybody's for administrators
    Sessions {
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<SessionsCommand>,
    },
    /// Adds, lists, resets and removes the accounts of people; for administrators
    Person {
        /// What to do.
        #[command(subcommand)]
        command: PersonCommand,
    },
    /// Makes, lists and revokes the tokens of programs; for administrators
    Token {
        /// What to do.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Makes the tokens by which nodes fetch their first certificate; for administrators
    EnrollToken {
        /// What to do.
        #[command(subcommand)]
        command: EnrollTokenCommand,
    },
    /// Ends all certificates of a node or a person at once, and the connections over which one was shown; for administrators
    ///
    /// A node is back with another enrolment token (reevectl enroll-token create), a person with another certificate, whose old
    /// files are to be removed first (reeve-controller init). What stands on the node stands.
    Revoke {
        #[command(flatten)]
        whose: Whose,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Lists whose certificates were revoked, the latest first; for administrators
    Revocations,
    /// Tells who the controller takes you for
    Whoami,
    /// Looks over the way to the controller, what it tells of itself, and its nodes, with what to do where something is wrong
    ///
    /// Point by point: your certificates, keys and tokens; whether the controller answers and can do its work; your role; its clock
    /// and version; nodes that are away, paused, braked, of another version, that lose frames or have orders waiting. It changes
    /// nothing and goes on to the end. On the controller's machine `reeve-controller doctor` sees more, on a node `reeve-agent doctor`.
    ///
    /// The exit code is 0 if all is well, 1 if there are warnings, 2 if something does not work.
    Doctor,
    /// Lists nodes and how their agents fare
    Nodes {
        #[command(flatten)]
        narrow: Narrow,
    },
    /// Lists violations, newest first, or shows one with its evidence
    Violations {
        #[command(flatten)]
        filter: Filter,
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<ViolationsCommand>,
    },
    /// Tells what a violation rests on, in one line fit for a mail, and writes its packet headers
    Evidence {
        /// The violation's id.
        #[arg(value_name = "VIOLATION")]
        id: Name,
        /// What the decision of this number rests on, counted from 1; by default the latest decision.
        #[arg(long, value_name = "NUMBER")]
        decision: Option<u32>,
        /// Write the packet headers to this file, as pcapng: of all that is kept, or of --decision alone.
        ///
        /// Raw IP with the lengths that the packets had; payload is never kept. The file's comment names the violation.
        #[arg(long, value_name = "FILE")]
        pcapng: Option<PathBuf>,
    },
    /// Explains a violation: the number and whose it is, standing, why this step of the ladder, what would have changed it
    ///
    /// All of it was written down when each decision was made; older agents told the numbers only.
    Explain {
        /// The violation's id.
        #[arg(value_name = "VIOLATION")]
        id: Name,
    },
    /// Suspends a tenant, or several in one step, on every node
    Suspend {
        #[command(flatten)]
        whom: Whom,
        /// Why, for the customer to read.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The clause that it rests on, as POLICY/CLAUSE.
        #[arg(long, value_name = "CLAUSE", default_value = "", hide_default_value = true)]
        clause: String,
        /// For how long, such as 12h or 7d; by default until released.
        #[arg(long = "for", value_name = "TIME", value_parser = span, conflicts_with = "until")]
        span: Option<Duration>,
        /// What ends it: `paid`, which `reevectl paid` tells. A release leaves it, and it leaves what the tenant is held for otherwise.
        #[arg(long, value_name = "EVENT")]
        until: Option<UntilArg>,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Ends what holds a tenant until an invoice is paid, and nothing else
    Paid {
        /// The tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
        tenant: String,
        /// A note for the record, such as the invoice's number.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Lists who was told what, newest first
    ///
    /// Every notice has a number that grows. Whatever sends notices asks for those after the last that it has sent, with --json.
    Notices {
        /// Only about this tenant, or to it.
        #[arg(long, value_name = "ID")]
        tenant: Option<Name>,
        /// Only to this tenant or reseller.
        #[arg(long, value_name = "ID")]
        to: Option<Name>,
        /// Only those with a number above, oldest first; 0 for all.
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
        /// At most so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
        /// With their texts.
        #[arg(long)]
        text: bool,
        /// Only those that this is true of, such as 'kind = final AND made_time > 2026-01-01T00:00:00Z'.
        ///
        /// What may be compared: number, tenant, recipient, kind, made_time.
        #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
        filter: String,
    },
    /// Lets so much of some of a tenant's traffic through on every node, and drops the rest
    Limit {
        /// The tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
        tenant: String,
        /// How much: AMOUNT[ connections|packets|calls|bytes|kbytes|mbytes]/second|minute|hour|day[ burst AMOUNT], such as
        /// "10/minute". Calls are new connections, and segments that carry something, each at this rate.
        #[arg(long, value_name = "RATE")]
        rate: reeve_policy::Rate,
        #[command(flatten)]
        traffic: Traffic,
        #[command(flatten)]
        why: Why,
    },
    /// Drops some of a tenant's traffic on every node
    Block {
        /// The tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
        tenant: String,
        #[command(flatten)]
        traffic: Traffic,
        #[command(flatten)]
        why: Why,
    },
    /// Lifts everything that holds a tenant, whoever ordered it, but for a suspension until an invoice is paid
    ///
    /// Strikes stay, so that the next episode begins a step higher, unless --forgive takes them back.
    Release {
        #[command(flatten)]
        whom: Whom,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// It was a false alarm: take back the strikes of the open violations, and of those behind the measures that are lifted.
        ///
        /// Strikes behind which nothing stands any more stay. Agents before protocol 1.3 leave all strikes.
        #[arg(long)]
        forgive: bool,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Tells all that is held against a tenant: what holds it, its strikes over all nodes, what it is known for, and its exemptions
    ///
    /// Strikes are those that the controller remembers; how many of them a policy counts, and for how long, is said by the policy.
    Standing {
        /// The tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
        #[arg(value_name = "TENANT|ADDRESS|NODE/IFNAME")]
        subject: String,
    },
    /// Takes a tenant's strikes back on every node, so that its next episode begins at the bottom of the ladder
    ///
    /// What holds the tenant stays, and so do its open violations: `reevectl release` lets it go. What it is known for from elsewhere stands in
    /// the file of tenants, and is changed there. Agents before protocol 1.8 go on counting what they saw themselves.
    Forgive {
        /// The tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
        tenant: String,
        /// Only those under this rule, as `reevectl standing` tells them; by default all.
        #[arg(long, value_name = "RULE")]
        rule: Option<Name>,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Lets a tenant do what a clause forbids, by written permission, on every node
    ///
    /// What it does to the hosts that the permission is for raises no alert and is no strike; what it does to others counts as before. It
    /// stands beside what the file of tenants says, and no import takes it away. What holds the tenant already stays: release it.
    Exempt {
        #[command(flatten)]
        asked: ExemptArgs,
    },
    /// Lists the cases that are not closed, shows one with its story, or works on it
    ///
    /// A case is all that happens with a tenant under one clause: a violation opens one, or goes to the one that is not closed.
    #[command(args_conflicts_with_subcommands = true)]
    Cases {
        #[command(flatten)]
        filter: CaseFilter,
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<CasesCommand>,
    },
    /// Lists what people outside complain about, newest first, or works on one
    ///
    /// A complaint is matched by its address and time to a tenant and to what nodes have seen, and opens a case or goes to one; it never acts by itself.
    /// What could not be read, or belongs to nobody, waits for a person: --waiting lists it.
    #[command(args_conflicts_with_subcommands = true)]
    Complaints {
        #[command(flatten)]
        filter: ComplaintFilter,
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<ComplaintsCommand>,
    },
    /// Lists how notices get to people, newest first, or sends one again
    ///
    /// A notice goes to each address of mail of its recipient, to each webhook and to the file, as far as controller.toml has them. What could not be
    /// sent is tried for three days, and then kept as dead, as what had no address is.
    #[command(args_conflicts_with_subcommands = true)]
    Outbox {
        #[command(flatten)]
        filter: OutboxFilter,
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<OutboxCommand>,
    },
    /// Lists the exemptions that operators granted, newest first, or takes one back
    ///
    /// What stands in tenants' own entries is listed by `reevectl tenants` and `reevectl standing`.
    #[command(args_conflicts_with_subcommands = true)]
    Exemptions {
        /// Only of this tenant.
        #[arg(value_name = "TENANT")]
        tenant: Option<Name>,
        /// Those that are over or were taken back, too, for as long as the controller remembers what is over.
        #[arg(long)]
        all: bool,
        /// What to do; by default they are listed.
        #[command(subcommand)]
        command: Option<ExemptionsCommand>,
    },
    /// Ends what policy does by itself, on a node or on all: the stop button
    ///
    /// Policy takes no new measure: what would be one becomes a notice that says who paused. What stands, stands, unless --lift
    /// is given; operators' orders are carried out all the same. Nodes that are away, or new, are paused when they connect. It lasts
    /// until `reevectl resume` of the same fleet or node.
    Pause {
        #[command(flatten)]
        target: Nodes,
        /// Why, for whoever reads the notices.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Lift the measures that policy made, too, and close the episodes behind them; operators' stay.
        #[arg(long)]
        lift: bool,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Lets policy act by itself again
    ///
    /// A node that is paused by another pause too, the fleet's, its own or that of `reeve-agent pause`, stays so.
    Resume {
        #[command(flatten)]
        target: Nodes,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Lifts every measure that a version of a policy made since a time
    ///
    /// The episodes behind them are closed, and the strikes that they were taken back. What operators ordered stays. The policy
    /// goes on: pause first where it would do the same again.
    Lift {
        /// The policy and its version, such as baseline@1.
        #[arg(long, value_name = "NAME@VERSION", value_parser = policy)]
        policy: PolicyVersion,
        /// Measures that were decided at this time or later: RFC 3339, or how long ago, such as 2h.
        ///
        /// With --request-key give the time itself: how long ago is another time at each repetition, and so another act.
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Timestamp,
        /// Only on this node.
        #[arg(long, value_name = "NODE")]
        node: Option<Name>,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Only list what would be lifted.
        #[arg(long)]
        dry_run: bool,
        /// Return when the order is stored, without waiting for the nodes.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Keeps a violation with its evidence past the time after which what is over is forgotten
    ///
    /// For a complaint or an inquiry. `reevectl violations show` tells who holds it and why. It lasts until it is ended by --end.
    HoldEvidence {
        /// The violation, as `reevectl violations` lists it.
        #[arg(value_name = "VIOLATION")]
        id: String,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", required_unless_present = "end")]
        reason: Option<String>,
        /// End it instead.
        #[arg(long, conflicts_with = "reason")]
        end: bool,
    },
    /// Releases a node's brakes, which hold new measures back when very many tenants are held
    Brakes {
        /// What to do.
        #[command(subcommand)]
        command: BrakesCommand,
    },
    /// Asks a tenant's mail server, from here, whether it would take a stranger's mail for somebody elsewhere
    ///
    /// Run it where the server has no reason to trust whoever asks: outside the tenant's networks. The server is told an outside sender and an
    /// outside recipient, and no mail is sent: DATA is never said. What is printed are the codes of its replies. If it refuses, what
    /// stands against the tenant until a check finds its relay closed is lifted; asked from next to the server, nothing is.
    /// Exit codes: 0 it refuses, 1 it is an open relay, 2 neither is known; others as with every command.
    CheckRelay {
        /// The server's address, or the id of a tenant that has only one. The address must be a tenant's.
        #[arg(value_name = "TENANT|ADDRESS")]
        subject: String,
        /// The sender: an address of your own.
        #[arg(long, value_name = "MAILBOX")]
        from: reeve_policy::Mailbox,
        /// The recipient: likewise, at a domain that the tenant takes no mail for.
        #[arg(long, value_name = "MAILBOX")]
        to: reeve_policy::Mailbox,
        /// The server's port.
        #[arg(long, value_name = "PORT", default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
    },
    /// Has a tenant's node ask its mail server now whether it is an open relay still
    ///
    /// If it refuses, what stands until a check finds it closed (until = "verified") is lifted, and its episode closed. What stands until
    /// released is not. A tenant is asked every 20 seconds at most. The policy says in whose name ([relay_check]).
    /// Exit codes: 0 it refuses, 1 it is an open relay, 2 neither is known; others as with every command.
    Verify {
        /// The tenant's id, an address of its, or the violation that is about its relay.
        #[arg(value_name = "TENANT|ADDRESS|VIOLATION")]
        subject: String,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Lists what happened on nodes, newest first: foreign changes, losses, brakes, pauses, trouble with the disk
    Events {
        /// Only on this node.
        #[arg(long, value_name = "NODE")]
        node: Option<Name>,
        /// Only at this time or later: RFC 3339, or how long ago, such as 2h.
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<Timestamp>,
        /// At most so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
        #[command(flatten)]
        narrow: Narrow,
    },
    /// Lists what tenants sent and received in a month, over all nodes
    ///
    /// What is counted, and how often it is told, is in docs/usage.md. Months are those of UTC.
    Usage {
        /// The month, such as 2026-01; by default the one at hand.
        #[arg(long, value_name = "YYYY-MM")]
        month: Option<Month>,
        /// Only of this tenant.
        #[arg(long, value_name = "ID")]
        tenant: Option<Name>,
        /// CSV for spreadsheets and billing, with a line of headings.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Lists for how long tenants were suspended in a month
    ///
    /// For whoever promised them how much of it they would be served. Time in which a tenant was suspended on several nodes, or for several
    /// reasons, counts once; what is still going on counts until now. Months are those of UTC.
    Suspensions {
        /// The month, such as 2026-01; by default the one at hand.
        #[arg(long, value_name = "YYYY-MM")]
        month: Option<Month>,
        /// Only of this tenant.
        #[arg(long, value_name = "ID")]
        tenant: Option<Name>,
        /// CSV for spreadsheets and billing, with a line of headings.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Tells what happens from now on, a line an event
    Watch {
        /// Only of this tenant; nodes' coming and going is told all the same.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<Name>,
    },
    /// Lists the acts that wait for a second person, or shows one
    ///
    /// What takes a second person is set in the controller's settings ([approval]; docs/people.md): without, nothing does. Such an act is
    /// not done when it is ordered (exit code 4), and waits until somebody else approves or rejects it, or its time is over.
    Approvals {
        /// What to do; by default those that wait are listed.
        #[command(subcommand)]
        command: Option<ApprovalsCommand>,
    },
    /// Approves an act that waits for a second person: it is carried out now, as whoever asked for it ordered it
    ///
    /// Look at it first: reevectl approvals show APPROVAL. Whoever asked for it cannot approve it, by whichever certificate or token.
    /// Exit codes: 0 it is done, 1 it was tried and refused; others as with every command.
    Approve {
        #[command(flatten)]
        decide: Decide,
    },
    /// Rejects an act that waits for a second person; one's own is taken back by this
    Reject {
        #[command(flatten)]
        decide: Decide,
    },
    /// Shows, writes out and verifies the record of what was done at the controller, and of who looked at evidence
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Looks at policies before they are used, and steers which of them nodes run
    ///
    /// Checking, showing and trying asks no controller.
    Policy {
        /// What to do.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Prints the completions of a shell
    Completion {
        /// The shell.
        shell: reeve_manual::Shell,
    },
    /// Writes the man pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder; it is made if it is not there.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// What is done with brakes.
#[derive(Debug, Subcommand)]
pub enum BrakesCommand {
    /// Releases a node's brakes: you have looked at those who are held
    ///
    /// They are set when so many of a node's tenants are held that something may be wrong (`reevectl nodes` says so); policy then holds nobody
    /// else. Once they are released, as many again may be held before they are set once more. To let go of those who are held, see `reevectl lift`.
    Release {
        /// The node.
        #[arg(long, value_name = "NAME")]
        node: Name,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Return when the order is stored, without waiting for the node.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
}

/// What ends a suspension, other than a release or its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UntilArg {
    /// An invoice is paid.
    Paid,
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Tells what is wrong with policies: file, line and key, what was found and what is allowed
    Check {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Writes a policy out as it holds, with what it extends put in
    ///
    /// What is written is a policy again. With --json it is one object.
    Show {
        /// A file, or the name of one that is compiled in: baseline, anycloud, cloudprovider, extin, intermax, oxygis.
        #[arg(value_name = "NAME|FILE", value_parser = presets(), hide_possible_values = true)]
        policy: String,
    },
    /// Tells whom a policy would have hit, and how, against another one: captures are played by both, and nothing is enforced
    ///
    /// Listed are, by tenant and family of classes: who would be newly hit, who no longer, and who otherwise (other steps, other
    /// times, other clauses, or another amount of traffic cut), by which clause, with the steps, their times and what they would cut:
    /// packets, bytes and targets that were seen while a measure would have stood. What is recorded went on as it did; what a sender
    /// would have done after a measure nobody can tell. What a node recorded itself: reeve-agent try --history.
    /// Exit codes: 0 nobody is hit otherwise, 1 somebody is; 65 a file holds what it must not, 74 it cannot be read.
    Try {
        /// The policy to try: a file, or the name of one that is compiled in.
        #[arg(value_name = "NAME|FILE", value_parser = presets(), hide_possible_values = true)]
        candidate: String,
        /// Captures (pcap or pcapng, packed with gzip or not), played one after the other; - is standard input.
        #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
        pcap: Vec<PathBuf>,
        /// The policy to hold it against: the one that runs.
        #[arg(long, value_name = "NAME|FILE", default_value = "baseline", value_parser = presets(), hide_possible_values = true)]
        against: String,
        /// Whose traffic it is: a file of tenants.
        #[arg(long, value_name = "FILE", required_unless_present = "tenant")]
        tenants: Option<PathBuf>,
        /// Likewise, a tenant's addresses: ADDRESS[,ADDRESS...] or NAME=ADDRESS[,ADDRESS...]. May be given several times.
        #[arg(long, value_name = "ADDRESSES")]
        tenant: Vec<reeve_replay::TenantArg>,
        /// Where the captures were taken: at the one tenant's port, where foreign sources are spoofed, or anywhere.
        #[arg(long, value_enum, default_value_t = VantageArg::Mirror)]
        vantage: VantageArg,
    },
    /// Shows the letters that a policy writes: each step of its rules told to a customer whom there is not, and each end of a measure
    ///
    /// Nobody is written to, and no controller is asked. What is wrong with texts is told with file, line and key, and what places a text may
    /// have. Exit codes: 0 there they are, 65 a file holds what it must not, 66 the policy has no such letter, 74 a file cannot be read.
    Letters {
        /// A file, or the name of one that is compiled in.
        #[arg(value_name = "NAME|FILE", value_parser = presets(), hide_possible_values = true)]
        policy: String,
        /// The language of whoever is written to; without it the policy's.
        #[arg(long, value_name = "TAG")]
        language: Option<Name>,
        /// Only of this clause, as POLICY/CLAUSE, or of the rule with this id.
        #[arg(long, value_name = "CLAUSE|RULE")]
        clause: Option<String>,
        /// A file of texts to try, as `reevectl policy texts` prints one: they go before the policy's.
        #[arg(long, value_name = "FILE")]
        texts: Option<PathBuf>,
    },
    /// Prints the texts of letters that are compiled in, to be copied and changed
    Texts {
        /// The language.
        #[arg(value_name = "LANGUAGE", value_parser = ["da", "en", "nl"])]
        language: String,
    },
    /// Prints the JSON Schema of policies, by which editors complete keys and underline mistakes while somebody writes
    Schema {
        /// Of what else that people write.
        #[arg(long, value_enum, default_value_t = SchemaArg::Policy, value_name = "WHAT")]
        of: SchemaArg,
    },
    /// Tells key by key in what two policies differ; exit code 1 if they do
    Diff {
        /// A file, the name of one that is compiled in, or one that the controller has, as NAME@VERSION.
        #[arg(value_name = "NAME|FILE|NAME@VERSION", value_parser = presets(), hide_possible_values = true)]
        before: String,
        /// Likewise.
        #[arg(value_name = "NAME|FILE|NAME@VERSION", value_parser = presets(), hide_possible_values = true)]
        after: String,
    },
    #[command(flatten)]
    Rollout(RolloutCommand),
}

impl PolicyCommand {
    /// Whether the controller is asked.
    pub fn is_remote(&self) -> bool {
        let is_kept = |place: &String| crate::rollout::kept(place).is_some();
        match self {
            Self::Rollout(_) => true,
            Self::Diff { before, after } => is_kept(before) || is_kept(after),
            _ => false,
        }
    }
}

/// What a schema is of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SchemaArg {
    /// Policies.
    Policy,
    /// Files of tenants.
    Tenants,
    /// The agent's settings.
    Settings,
}

/// Where a capture was taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum VantageArg {
    /// At the tenant's port.
    Port,
    /// Anywhere else.
    Mirror,
}

/// What is paused or resumed.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Nodes {
    /// Every node, those that come later too.
    #[arg(long)]
    pub fleet: bool,
    /// One node.
    #[arg(long, value_name = "NAME")]
    pub node: Option<Name>,
}

/// Which traffic is meant; left out, all of it.
#[derive(Debug, Args)]
pub struct Traffic {
    /// To this port, such as tcp/25.
    #[arg(long, value_name = "PROTOCOL/PORT", value_parser = port)]
    pub port: Option<(Protocol, u16)>,
    /// To this destination; may be given several times. With --port, to that port of it.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<std::net::IpAddr>,
    /// What the tenant sends with a source that is not its own, by ports that it has alone on a node.
    #[arg(long, conflicts_with_all = ["port", "to"])]
    pub forged: bool,
}

impl Traffic {
    /// It as a scope.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let mut addresses = self.to.clone();
        addresses.sort_unstable();
        addresses.dedup();
        match self.port {
            None if self.forged => Scope::Forged,
            None if addresses.is_empty() => Scope::All,
            None => Scope::Destinations { addresses },
            Some((protocol, port)) if addresses.is_empty() => Scope::Port { protocol, port },
            Some((protocol, port)) => {
                let target = |address| Target { address, protocol, port: Some(port) };
                Scope::DestinationPorts { targets: addresses.into_iter().map(target).collect() }
            }
        }
    }
}

fn port(text: &str) -> Result<(Protocol, u16), String> {
    let wrong = || "PROTOCOL/PORT, such as tcp/25 or udp/53".to_owned();
    let (protocol, port) = text.split_once('/').ok_or_else(wrong)?;
    let protocol: Protocol = protocol.parse().map_err(|_| wrong())?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if protocol.has_ports() { Ok((protocol, port)) } else { Err(wrong()) }
}

/// Why and for how long.
#[derive(Debug, Args)]
pub struct Why {
    /// Why, for the customer to read.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The clause that it rests on, as POLICY/CLAUSE.
    #[arg(long, value_name = "CLAUSE", default_value = "", hide_default_value = true)]
    pub clause: String,
    /// For how long, such as 12h or 7d; by default until released.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub span: Option<Duration>,
    /// Return when the order is stored, without waiting for the nodes.
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub repeat: Repeat,
}

/// What can be done with violations.
#[derive(Debug, Subcommand)]
pub enum ViolationsCommand {
    /// Lists them
    List(Filter),
    /// Shows one: its numbers, targets, decisions and measures
    Show {
        /// The violation's id.
        id: Name,
    },
    /// Writes one as a report to others, without payload and without what the customer is called
    ///
    /// Who reports is set at the controller ([reports] in controller.toml).
    Report {
        /// The violation's id.
        #[arg(value_name = "VIOLATION")]
        id: Name,
        /// How it is written.
        #[arg(long, value_name = "FORMAT", default_value = "xarf")]
        format: ReportFormatArg,
        /// Where to; standard output if left out.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// How a report is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ReportFormatArg {
    /// JSON of XARF 4.
    Xarf,
    /// A mail of RFC 5965, without the recipient; of violations by mail alone.
    Arf,
}

/// What a list is narrowed to, and its order.
#[derive(Clone, Debug, Default, Args)]
pub struct Narrow {
    /// Only those that this is true of: comparisons with =, !=, <, <=, > and >=, joined by AND, OR and NOT.
    ///
    /// Such as 'state = open AND NOT node = hv-07'. OR binds harder than AND; parentheses help. A field that there is not is refused
    /// with those that there are.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// By which field, with desc behind it for the other way round, such as 'name desc'.
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    pub order_by: String,
}

/// Which violations.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    #[command(flatten)]
    pub narrow: Narrow,
    /// Only of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<Name>,
    /// Only in this state.
    #[arg(long, value_enum)]
    pub state: Option<StateArg>,
    /// Only those that went on at this time or later: RFC 3339, or how long ago, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    pub limit: i32,
}

/// Where a violation stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StateArg {
    /// Abuse was seen lately.
    Open,
    /// Nothing was seen for the rule's quiet time.
    Quiet,
    /// An operator released the tenant.
    Released,
}

/// The names of policies that are compiled in are completed.
fn presets() -> reeve_manual::Known {
    reeve_manual::Known(Policy::PRESETS.iter().map(|(name, _)| *name).collect())
}

pub fn policy(text: &str) -> Result<PolicyVersion, String> {
    let wrong = || "a policy's name and version, such as baseline@1".to_owned();
    let (name, version) = text.rsplit_once('@').ok_or_else(wrong)?;
    let name = name.parse().map_err(|_| wrong())?;
    Ok(PolicyVersion { name, version: version.parse().map_err(|_| wrong())? })
}

fn since(text: &str) -> Result<Timestamp, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    match parse_duration(text) {
        Some(ago) => Ok((Timestamp::EPOCH + now).minus(ago)),
        None => text.parse().map_err(|_| {
            "a time like 2026-01-31T12:00:00Z, or how long ago, such as 30m, 2h or 7d".to_owned()
        }),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).filter(|span| *span >= Duration::from_secs(1));
    span.ok_or_else(|| "a time from 1s on, such as 30s, 15m, 12h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("reevectl status alice --json").is_ok());
        assert!(parse("reevectl --json violations --tenant a --state open show X").is_ok());
        assert!(parse("reevectl evidence X --pcapng scan.pcapng").is_ok());
        assert!(parse("reevectl explain X --json").is_ok());
        assert!(parse("reevectl explain").is_err());
        assert!(parse("reevectl suspend a --reason x --for 1h").is_ok());
        assert!(parse("reevectl suspend a").is_err());
        assert!(parse("reevectl suspend a b 203.0.113.7 --reason x --json").is_ok());
        assert!(parse("reevectl suspend --from - --reason x").is_ok());
        assert!(
            parse("reevectl suspend --reason x").is_err(),
            "nobody is suspended by leaving something out"
        );
        assert!(parse("reevectl release a b --from list").is_ok());
        assert!(parse("reevectl release").is_err());
        assert!(parse("reevectl suspend a --reason x --for 10").is_err());
        assert!(parse("reevectl violations --since 1h").is_ok());
        assert!(parse("reevectl suspend a b --reason x --request-key 0a4c").is_ok());
        assert!(parse("reevectl block a --port tcp/25 --reason x --request-key 0a4c").is_ok());
        assert!(parse("reevectl resume --fleet --request-key 0a4c").is_ok());
        assert!(parse("reevectl status a --request-key 0a4c").is_err(), "what is no act has none");
        assert!(parse("reevectl policy delete ours@3 --reason old").is_ok());
        assert!(parse("reevectl policy delete ours").is_err());
        assert!(parse("reevectl pause --fleet --lift").is_ok());
        assert!(parse("reevectl resume --node n1").is_ok());
        assert!(parse("reevectl pause").is_err(), "nothing is paused by leaving something out");
        assert!(parse("reevectl pause --fleet --node n1").is_err());
        assert!(parse("reevectl lift --policy baseline@1 --since 2h --dry-run").is_ok());
        assert!(parse("reevectl lift --policy baseline --since 2h").is_err());
        assert!(parse("reevectl lift --policy baseline@1").is_err());
        assert!(parse("reevectl events --node n1 --since 2026-01-31T12:00:00Z").is_ok());
        assert!(parse("reevectl usage --month 2026-01 --tenant a --json").is_ok());
        assert!(parse("reevectl usage --month 2026-13").is_err());
        assert!(parse("reevectl suspensions --month 2026-01 --tenant a --csv").is_ok());
        assert!(parse("reevectl suspensions --csv --json").is_err());
        assert!(parse("reevectl violations --since yesterday").is_err());
        assert!(parse("reevectl tenants import t.csv --dry-run --replace").is_ok());
        assert!(parse("reevectl tenants import - --format json").is_ok());
        assert!(parse("reevectl tenants import t --format xml").is_err());
        assert!(parse("reevectl check-relay 192.0.2.1 --from a@b.example --to c@d.example").is_ok());
        assert!(parse("reevectl check-relay 192.0.2.1 --from a@b.example --to c").is_err());
        assert!(parse("reevectl check-relay 192.0.2.1").is_err());
        let exempt = "reevectl exempt alice --clause p/scan --reference x --reason y";
        assert!(
            parse(&format!("{exempt} --until 2026-12-31 --to 192.0.2.1 --to 2001:db8::/32 --port 22"))
                .is_ok()
        );
        assert!(parse(&format!("{exempt} --for 30d --from 2026-12-01")).is_ok());
        assert!(parse(&format!("{exempt} --until revoked")).is_ok());
        assert!(parse(exempt).is_err(), "nothing lasts by leaving something out");
        assert!(parse(&format!("{exempt} --for 30d --until revoked")).is_err());
        assert!(parse("reevectl exempt alice --clause scan --reference x --reason y --for 1d").is_err());
        assert!(parse("reevectl exemptions alice --all --json").is_ok());
        assert!(parse("reevectl exemptions revoke E1 --reason x").is_ok());
        assert!(parse("reevectl standing 192.0.2.1").is_ok());
        assert!(parse("reevectl forgive alice --rule scan --reason x").is_ok());
        assert!(parse("reevectl forgive alice").is_err(), "it says why");
        assert!(parse("reevectl verify alice").is_ok());
        assert!(parse("reevectl verify").is_err());
        assert!(parse("reevectl token create x --role billing --from 192.0.2.0/24 --expires 30d").is_ok());
        assert!(parse("reevectl enroll-token create --node n1 --expires 1h").is_ok());
        assert!(parse("reevectl enroll-token create").is_err());
        assert!(parse("reevectl revoke --node n1 --reason stolen").is_ok());
        assert!(parse("reevectl revoke --node n1 --person x").is_err());
        assert!(parse("reevectl person add ann --role operator --from 192.0.2.0/24").is_ok());
        assert!(parse("reevectl person add ann").is_err(), "a role is never taken for granted");
        assert!(parse("reevectl login ann").is_ok());
        assert!(parse("reevectl login ann secret").is_err(), "no secret is an argument");
        assert!(parse("reevectl sessions revoke A1").is_ok());
        assert!(parse("reevectl approvals").is_ok());
        assert!(parse("reevectl approvals list --all --json").is_ok());
        assert!(parse("reevectl approvals show A1").is_ok());
        assert!(parse("reevectl approve A1 --reason seen").is_ok());
        assert!(parse("reevectl approve").is_err(), "nothing is approved by leaving something out");
        assert!(parse("reevectl approve ../A1").is_err());
        assert!(parse("reevectl reject A1").is_ok());
        assert!(parse("reevectl revoke").is_err(), "nothing is revoked by leaving something out");
        assert!(parse("reevectl token create x").is_err(), "a role is never taken for granted");
        assert!(parse("reevectl token create ../x --role admin").is_err());
        assert!(parse("reevectl status a --token-file t --dir d").is_ok());
    }
}
