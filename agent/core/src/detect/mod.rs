//! Detectors: pure algorithms over what the flow stage and the meters tell, one file per family.
//!
//! Each module says what abuse it finds, the measure and where that comes from, its numbers, what benign traffic looks
//! like it and why that stays silent, and how it may be evaded. [`Detectors`] is all of one tenant's state: bounded by
//! [`Detectors::BYTES`], made when the tenant first does something worth noting, dropped when it has been idle.

pub mod api;
pub mod block;
pub mod bruteforce;
pub mod claims;
pub mod crash;
pub mod crawl;
pub mod flood;
pub mod horizontal;
pub mod identity;
pub mod known;
pub mod link;
pub mod mail;
pub mod malware;
pub mod noise;
pub mod peers;
pub mod quota;
pub mod routing;
pub mod scan;
pub mod slow;
pub mod source;
pub mod stealth;
pub mod vertical;
pub mod walk;

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Class, Metric, Outcome, Protocol, Target, TargetSeen, Timestamp};

use crate::flow::{FlowEvent, Restrictions};
use crate::meter::samples::Samples;
use crate::packet::{Ip, TcpFlags, Transport};
use crate::stream::StreamEvent;
use crate::stream::login::Login;

/// While abuse goes on, its alert is repeated this often, so that its episode stays open.
const REPEAT: Duration = Duration::from_secs(10);

/// What a detector found; the shard adds whose it is, samples and loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The class of abuse.
    pub class: Class,
    /// When it began, as far as the window reaches.
    pub start: Timestamp,
    /// The observation or deadline that decided it.
    pub at: Timestamp,
    /// The numbers.
    pub metrics: Vec<Metric>,
    /// How sure, in percent.
    pub confidence_percent: u8,
    /// The targets that weigh most.
    pub targets: Vec<TargetSeen>,
    /// Whether it is a suspicion only (see [`reeve_policy::Alert::is_suspicion`]).
    pub is_suspicion: bool,
}

/// A count beside its threshold.
fn count(name: &'static str, value: u32, threshold: u32) -> Metric {
    Metric { name: name.into(), value: value.into(), threshold: Some(threshold.into()) }
}

/// Takes away the thresholds that the numbers of a finding do not bear out, where one of several numbers was enough: a number below its
/// own limit would be disputed. Shares that speak for a flood are to be below it. The first number is the one that it was found by.
pub(crate) fn leave_what_bears_out(finding: &mut Finding) {
    let is_flood = ["flood", "udp_stream"].contains(&finding.class.family());
    for metric in &mut finding.metrics {
        let is_at_most = is_flood && ["answered", "carried", "completed"].contains(&metric.name.as_ref());
        let value = metric.value;
        let fits = |limit: &f64| if is_at_most { value < *limit } else { value >= *limit };
        metric.threshold = metric.threshold.filter(fits);
    }
}

/// Whether what was last told then has just been told.
fn is_recent(last: Option<Timestamp>, at: Timestamp) -> bool {
    last.is_some_and(|last| !at.is_past(last, REPEAT))
}

/// A share, 0 to 1, beside its threshold.
fn share(name: &'static str, value: f64, threshold: Option<f64>) -> Metric {
    Metric { name: name.into(), value, threshold }
}

/// Whether the tenant's own addresses make dials to bogons leaks rather than attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// It has public addresses.
    Public,
    /// It lives on private addresses itself.
    Private,
}

/// All detectors of one tenant.
#[derive(Debug, Default)]
pub struct Detectors {
    scans: scan::Scans,
    floods: flood::Floods,
    crash: crash::Crashes,
    samples: Samples,
    /// Made when the tenant first has to do with mail, and with a protected endpoint.
    mail: Option<Box<mail::Mail>>,
    api: Option<Box<api::Api>>,
    /// Made when the tenant first says that it is somebody else.
    identity: Option<Box<identity::Identity>>,
    /// Made when the tenant first asks for a page in the clear.
    crawl: Option<Box<crawl::Crawl>>,
    /// Made when it first tries something that is listed.
    malware: Option<Box<malware::Malware>>,
    /// Made when a login of the tenant's is first refused.
    guesses: Option<Box<bruteforce::Guesses>>,
    last_alert: [Option<Timestamp>; Class::ALL.len()],
    last_suspicion: [Option<Timestamp>; Class::ALL.len()],
    last_active: Timestamp,
    /// When the headers of a datagram were last kept.
    last_datagram: Timestamp,
}

/// Of datagrams that begin no attempt the headers of one in this time are kept. A flood is seen by those as well, over a longer time.
const DATAGRAMS_APART: Duration = Duration::from_millis(1);

impl Detectors {
    /// The most bytes that one tenant's detectors take.
    pub const BYTES: usize =
        size_of::<Self>() + scan::Scans::BYTES + flood::Floods::BYTES + Samples::BYTES + Self::RARE_BYTES;

    /// What of that only those take who do something that most never do.
    const RARE_BYTES: usize = scan::Scans::RARE_BYTES
        + flood::Floods::RARE_BYTES
        + crash::Crashes::RARE_BYTES
        + mail::Mail::BYTES
        + api::Api::BYTES
        + identity::Identity::BYTES
        + crawl::Crawl::BYTES
        + malware::Malware::BYTES
        + bruteforce::Guesses::BYTES;

    /// Takes a packet that the tenant sent, which stands for `weight` like it, and of whose traffic measures hold back
    /// `restrictions`. `is_own` says whether it goes to the tenant itself.
    pub fn handle_sent(
        &mut self,
        numbers: &Thresholds,
        restrictions: &Restrictions,
        (ip, weight, is_own): (&Ip<'_>, u32, bool),
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        self.floods.handle_sent(numbers, restrictions, (ip, weight), at);
        if crash::may_be_harmful(ip) {
            self.crash.handle_sent(&numbers.crash, ip, is_own, at, found);
        }
    }

    /// Keeps the headers of a packet that the tenant sent. `is_loose` says whether it belongs to no connection, or has a source that
    /// is not the tenant's: within a connection, what merely carries data or acknowledges is no evidence of anything; and of datagrams that
    /// begin nothing (`is_first`) a few are as good as all.
    pub fn keep_headers(&mut self, ip: &Ip<'_>, is_loose: bool, is_first: bool, at: Timestamp) {
        let Transport::Tcp(tcp) = &ip.transport else {
            let is_plain = matches!(ip.transport, Transport::Udp(_)) && !crash::may_be_harmful(ip);
            if !is_plain || is_first || at.is_past(self.last_datagram, DATAGRAMS_APART) {
                self.last_datagram = at;
                self.samples.record(at, ip.length, ip.headers, false);
            }
            return;
        };
        let is_plain = tcp.flags.classic() & !TcpFlags::PSH == TcpFlags::ACK;
        if is_loose || !is_plain {
            self.samples.record(at, ip.length, ip.headers, is_loose);
        }
    }

    /// Takes a packet that reached the tenant, and stands for `weight` like it.
    pub fn handle_received(&mut self, numbers: &Thresholds, (ip, weight): (&Ip<'_>, u32), at: Timestamp) {
        self.floods.handle_received(numbers, (ip, weight), at);
    }

    /// Takes a packet that reached the tenant, of which bulk is sampled one in `sampling`.
    pub fn handle_answer(&mut self, ip: &Ip<'_>, sampling: impl FnOnce() -> u32) {
        if let Some(crawl) = &mut self.crawl {
            crawl.handle_received(ip, sampling());
        }
    }

    /// Not later than the first time when a flood is to be judged.
    #[must_use]
    pub fn floods_due(&self) -> Option<Timestamp> {
        self.floods.next_due()
    }

    /// Takes what the flow stage tells, of a packet that stands for `weight` like it.
    pub fn handle_flow(
        &mut self,
        numbers: &Thresholds,
        (event, weight): (&FlowEvent, u32),
        home: Home,
        found: &mut Vec<Finding>,
    ) {
        self.floods.handle_flow(numbers, event, weight);
        // They tell floods from traffic, and mean nothing to the others.
        if matches!(event, FlowEvent::Completed { .. } | FlowEvent::Stray { .. } | FlowEvent::Vouched { .. })
        {
            return;
        }
        self.last_active = event.at();
        if let FlowEvent::Outcome { target, outcome, at, .. } = event {
            if let Some(malware) = &mut self.malware {
                let finding = malware.judge(&numbers.malware, target.address, *outcome, *at);
                self.raise(finding, found);
            }
            if *outcome == Outcome::Refused && mail::is_exchanger(target) {
                self.mail.get_or_insert_default().handle_refused(*target, *at);
            }
        }
        let (last_alert, mut told) = (&self.last_alert, Vec::new());
        let is_told = |class: Class| is_recent(last_alert[class as usize], event.at());
        self.scans.handle(numbers, event, home, is_told, &mut told);
        told.into_iter().for_each(|finding| self.raise(Some(finding), found));
    }

    /// Takes a probe that may be of a connection which a measure broke.
    pub fn handle_pardoned(&mut self, numbers: &Thresholds, event: &FlowEvent, found: &mut Vec<Finding>) {
        self.last_active = event.at();
        let finding = self.scans.pardoned(numbers, event);
        self.raise(finding, found);
    }

    /// Takes the tenant's request for a neighbour on its link.
    pub fn handle_asked(&mut self, numbers: &Thresholds, neighbour: IpAddr, at: Timestamp) {
        self.last_active = at;
        self.scans.asked(numbers, neighbour, at);
    }

    /// Takes a neighbour's answer to it.
    pub fn handle_neighbour(&mut self, neighbour: IpAddr) {
        self.scans.answered(neighbour);
    }

    /// Takes what was told of a connection. `whence` says what is known of its other end.
    pub fn handle_stream(
        &mut self,
        numbers: &Thresholds,
        event: &StreamEvent,
        whence: mail::Whence,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        match event {
            StreamEvent::Mail { local, peer, port, is_client, event, .. } => {
                let mail = self.mail.get_or_insert_default();
                if *is_client {
                    let mut told = Vec::new();
                    mail.handle_sent(numbers, mail::exchanger(*peer, *port), event, at, &mut told);
                    told.into_iter().for_each(|finding| self.raise(Some(finding), found));
                } else {
                    mail.handle_received((*local, *port), event, whence, at);
                }
            }
            StreamEvent::Page { peer, port, path, weight, .. } => {
                let crawl = self.crawl.get_or_insert_default();
                let finding = crawl.handle(&numbers.crawl, (*peer, *port), (*path, *weight), at);
                self.raise(finding, found);
            }
            StreamEvent::Listed { target, list, .. } => {
                self.malware.get_or_insert_default().dialled(list, *target, at);
            }
            StreamEvent::Call { peer, port, is_quic, endpoint, call, .. } => {
                let protocol = if *is_quic { Protocol::Udp } else { Protocol::Tcp };
                let target = Target { address: *peer, protocol, port: Some(*port) };
                let api = self.api.get_or_insert_default();
                api.handle(&numbers.endpoints, *endpoint, target, *call, at, found);
            }
            StreamEvent::Login { target, service, login, .. } => {
                // Who is let in and was never refused is nobody to remember.
                if self.guesses.is_none() && matches!(login, Login::Accepted | Login::AcceptedIn(_)) {
                    return;
                }
                let guesses = self.guesses.get_or_insert_default();
                let finding = guesses.handle(&numbers.bruteforce, *target, *service, *login, at);
                self.raise(finding, found);
            }
        }
    }

    /// Takes a sign that the tenant says that it is somebody else.
    pub fn handle_sign(
        &mut self,
        numbers: &Thresholds,
        sign: identity::Sign,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        let finding = self.identity.get_or_insert_default().handle(numbers, sign, at);
        self.raise(finding, found);
    }

    /// Begins to count anew, where windows are longer than the time after which a ladder goes on.
    pub fn restart(&mut self) {
        self.scans.restart();
        if let Some(mail) = &mut self.mail {
            mail.restart();
        }
        self.guesses = None;
    }

    /// The tenant's mail server that is to be asked whether it is an open relay, where there is one.
    #[must_use]
    pub fn mail_server(&self) -> Option<IpAddr> {
        self.mail.as_ref()?.server()
    }

    /// Forgets what mail was passed on.
    pub fn forget_passing(&mut self) {
        if let Some(mail) = &mut self.mail {
            mail.forget_passing();
        }
    }

    /// Forgets what was called: the endpoints are others.
    pub fn forget_calls(&mut self) {
        self.api = None;
    }

    /// When [`Detectors::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self, numbers: &Thresholds) -> Option<Timestamp> {
        let api = self.api.as_ref().and_then(|api| api.next_deadline(&numbers.endpoints));
        let identity = self.identity.as_ref().and_then(|identity| identity.next_deadline());
        let link = self.scans.next_deadline();
        [self.floods.next_due(), api, identity, link].into_iter().flatten().min()
    }

    /// Judges the seconds that are over. `hears` says whether answers reach the sensor.
    pub fn handle_timeout(
        &mut self,
        numbers: &Thresholds,
        hears: bool,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.floods.handle_timeout(numbers, hears, now, found);
        let sweep = self.scans.handle_timeout(numbers, now);
        self.raise(sweep, found);
        if let Some(api) = &mut self.api {
            api.handle_timeout(&numbers.endpoints, now, found);
        }
        found.extend(self.identity.as_mut().and_then(|identity| identity.handle_timeout(numbers, now)));
    }

    /// Whether `target` has answered the tenant within the hour.
    #[must_use]
    pub fn knows(&self, target: &Target, at: Timestamp) -> bool {
        self.scans.knows(target, at)
    }

    /// The last packet headers.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Whether nothing here matters any more at `now`.
    #[inline]
    #[must_use]
    pub fn is_idle(&self, numbers: &Thresholds, now: Timestamp) -> bool {
        // Every packet asks.
        now.is_past(self.last_active, REPEAT) && self.has_nothing_left(numbers, now)
    }

    fn has_nothing_left(&self, numbers: &Thresholds, now: Timestamp) -> bool {
        let longest = numbers.horizontal.window.max(numbers.vertical.window).max(numbers.stealth.window);
        let longest = longest.max(walk::EXPIRY);
        now.since(self.last_active) > longest + REPEAT
            && self.scans.is_idle(numbers, now)
            && self.mail.as_ref().is_none_or(|mail| mail.is_idle(numbers, now))
            && self.api.as_ref().is_none_or(|api| api.is_idle(&numbers.endpoints, now))
            && self.identity.as_ref().is_none_or(|identity| identity.is_idle(now))
            && self.crawl.as_ref().is_none_or(|crawl| crawl.is_idle(&numbers.crawl, now))
            && self.malware.as_ref().is_none_or(|malware| malware.is_idle(now))
            && self.guesses.as_ref().is_none_or(|guesses| guesses.is_idle(&numbers.bruteforce, now))
    }

    /// Lets a finding through unless its class has just been told.
    fn raise(&mut self, finding: Option<Finding>, found: &mut Vec<Finding>) {
        let Some(finding) = finding else { return };
        // A suspicion does not keep what confirms it from being told.
        let last = if finding.is_suspicion { &mut self.last_suspicion } else { &mut self.last_alert };
        let last = &mut last[finding.class as usize];
        if !is_recent(*last, finding.at) {
            *last = Some(finding.at);
            found.push(finding);
        }
    }
}

// One tenant stays within its share of memory: 64 KiB, and as much again for one that does everything that most never do: mail,
// calls of protected endpoints, odd packets, answers to whoever asks, dials that nobody takes.
const RARE: usize =
    identity::Identity::BYTES + crawl::Crawl::BYTES + malware::Malware::BYTES + bruteforce::Guesses::BYTES;
const _: () = assert!(Detectors::BYTES - Detectors::RARE_BYTES <= 64 * 1024);
const _: () = assert!(Detectors::BYTES - RARE <= 147 * 1024);
const _: () = assert!(crawl::Crawl::BYTES <= 4 * 1024);
const _: () = assert!(bruteforce::Guesses::BYTES <= 16 * 1024);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::targets::TargetWindow;

    /// What a policy may ask for is what there is room for: the policy language cannot see this crate, so it says its own numbers.
    #[test]
    fn a_policy_may_ask_for_no_more_than_there_is_room_for() {
        let numbers = Thresholds::default();
        let most = |class: Class, key: &str| {
            let number = numbers.list(class).into_iter().find(|number| number.key == key);
            number.and_then(|number| number.most).unwrap_or_else(|| panic!("{class} {key}")) as usize
        };
        for (class, key, room) in [
            (Class::PortscanSlow, "targets_per_hour", slow::Slow::GATHERED),
            (Class::PortscanSlow, "targets_per_day", slow::Slow::GATHERED),
            (Class::PortscanStealth, "probes", stealth::Probes::CAPACITY),
            (Class::PortscanStealth, "ack_probes", stealth::Probes::CAPACITY),
            (Class::PortscanStealth, "protocols", stealth::Probes::PROTOCOLS),
            (Class::PortscanHorizontal, "link_hosts", link::Link::CAPACITY),
            (Class::Spam, "exchangers", mail::EXCHANGERS_MAX),
            (Class::SmtpRelay, "sealed_messages", mail::ARRIVALS_MAX / 2),
            (Class::Bruteforce, "hosts", bruteforce::DOORS_MAX),
            (Class::Malware, "answered", malware::Malware::CAPACITY),
            (Class::Malware, "silent", malware::Malware::CAPACITY),
        ] {
            assert_eq!(most(class, key), room, "{class} {key}");
        }
        // The windows over targets keep a few for those that come between.
        for (class, keys) in [
            (
                Class::PortscanHorizontal,
                &[
                    "hosts",
                    "wide_hosts",
                    "wide_intruder_hosts",
                    "block_targets",
                    "walk_hosts",
                    "intruder_hosts",
                    "peer_hosts",
                ][..],
            ),
            (Class::PortscanVertical, &["ports", "low_ports"]),
        ] {
            keys.iter().for_each(|key| assert!(most(class, key) < TargetWindow::CAPACITY, "{class} {key}"));
        }
    }
}
