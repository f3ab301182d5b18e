//! What was done: a sentence for each class. Every verb is its own participle, so that a suspicion reads well too.

use super::numbers::{Limit, bits, bytes, count, percent, some, time};
use super::{capital, distinct, list};
use crate::alert::{Alert, Metric};
use crate::class::Class;
use crate::net::Protocol;

/// Ports of a scan that are named.
const PORTS: usize = 5;

impl Alert {
    pub(super) fn deed(&self) -> String {
        let to = self.door(" to ");
        match self.class {
            Class::PortscanHorizontal => self.swept(),
            Class::PortscanVertical => self.searched(),
            Class::PortscanSlow => self.tried_patiently(),
            Class::PortscanStealth => self.probed(),
            Class::FloodSyn => self.flooded("TCP connection requests"),
            Class::FloodTcp => self.flooded("TCP packets outside any connection"),
            Class::FloodConnect => self.flooded("TCP connections that carry nothing"),
            Class::FloodUdp => self.flooded("UDP packets"),
            Class::FloodIcmp => self.flooded("ICMP packets"),
            Class::FloodFrag => self.flooded("IP fragments"),
            Class::FloodOther => self.flooded("packets of unusual IP protocols"),
            Class::FloodVolume => format!("sent more one-sided traffic{to} than is allowed{}", self.rates()),
            Class::FloodAmplify => {
                format!("sent large answers to forged requests{to} (a reflection attack){}", self.rates())
            }
            Class::UdpStream => format!("sent a stream of UDP packets{to}{}", self.rates()),
            Class::Crash => self.crashed(),
            Class::Spam => self.spammed(),
            Class::SpamMailbomb => self.bombed(),
            Class::SmtpRelay => self.relayed(),
            Class::ApiBurst => self.called(),
            Class::Crawl => self.crawled(),
            Class::Bruteforce => self.guessed(),
            Class::SpoofSource => format!(
                "sent {} with forged source addresses{to}",
                self.first(Limit::Reached, |value| some(value, "packet", "packets"))
            ),
            Class::SpoofArp => self.claimed("ARP"),
            Class::SpoofNd => self.claimed("neighbour discovery"),
            Class::SpoofRouting => self.routed(),
            Class::Malware => self.met_listed(),
            Class::Quota => self.used_up(),
        }
    }

    /// Whether the sentence names the one address.
    pub(super) fn has_victim(&self) -> bool {
        self.class != Class::PortscanHorizontal && !self.victim(" ").is_empty()
    }

    /// Whether the sentence names the one port.
    pub(super) fn names_port(&self) -> bool {
        self.class == Class::PortscanHorizontal && self.metric("block_targets").is_none()
    }

    fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.metric(name).map(|metric| metric.value)
    }

    /// The number that the alert is named for, with its limit where it crossed that.
    fn first(&self, limit: Limit, unit: fn(f64) -> String) -> String {
        self.metrics.first().map_or_else(
            || unit(0.0).replacen('0', "some", 1),
            |metric| format!("{}{}", unit(metric.value), limit.beside(metric, count)),
        )
    }

    /// `; 95 % of them did not answer`, where that was judged.
    fn unanswered(&self) -> String {
        let judged = self.metric("unanswered").filter(|metric| metric.threshold.is_some());
        judged
            .map(|metric| match metric.value {
                1.0 => "; none of them answered".to_owned(),
                share => format!("; {} of them did not answer", percent(share)),
            })
            .unwrap_or_default()
    }

    /// ` to ADDRESS`, where it was one.
    fn victim(&self, word: &str) -> String {
        match distinct(&self.targets, |seen| Some(seen.target.address)).as_slice() {
            [only] => format!("{word}{only}"),
            _ => String::new(),
        }
    }

    /// ` to ADDRESS (TCP port 80)`, where it was one.
    fn door(&self, word: &str) -> String {
        let ports = distinct(&self.targets, |seen| Some((seen.target.protocol, seen.target.port)));
        match (self.victim(word), ports.as_slice()) {
            (host, [(protocol, Some(port))]) if !host.is_empty() => {
                format!("{host} ({} port {port})", capital(*protocol))
            }
            (host, _) => host,
        }
    }

    /// `TCP ports 22 and 80`, `TCP port 22`, or what stands for ports.
    fn ports(&self) -> String {
        let protocol = self.targets.first().map(|seen| seen.target.protocol);
        let ports = distinct(&self.targets, |seen| seen.target.port);
        match (protocol, ports.as_slice()) {
            (Some(protocol), [only]) => format!("{} port {only}", capital(protocol)),
            (Some(protocol), [_, ..]) if ports.len() <= PORTS => {
                format!("{} ports {}", capital(protocol), list(&ports))
            }
            (Some(protocol), [_, ..]) => format!("{} ports", capital(protocol)),
            _ => "ports".to_owned(),
        }
    }

    fn swept(&self) -> String {
        let Some(first) = self.metrics.first() else { return "tried one port on many hosts".to_owned() };
        let allowed = Limit::Reached.beside(first, count);
        let number = |one, many| format!("{}{allowed}", some(first.value, one, many));
        let rest = self.unanswered();
        let protocol = self.targets.first().map(|seen| seen.target.protocol);
        match (&*first.name, protocol) {
            ("block_targets", _) => {
                let hosts =
                    self.value("hosts").map(|hosts| format!(" of {} in all", some(hosts, "host", "hosts")));
                let ports = some(first.value, "port", "ports");
                format!(
                    "tried {ports}{}{allowed}{rest}",
                    hosts.unwrap_or_else(|| " of some hosts in all".to_owned())
                )
            }
            ("walk_hosts", _) => {
                format!("tried {} on {}, one after the other{rest}", self.ports(), number("host", "hosts"))
            }
            ("link_hosts", _) => {
                format!("asked its local network for {}{rest}", number("neighbour", "neighbours"))
            }
            ("wide_hosts" | "wide_intruder_hosts", _) => format!(
                "tried {} on {}, most of which did not answer or were told nothing{rest}",
                self.ports(),
                number("host", "hosts")
            ),
            (_, Some(Protocol::Icmp | Protocol::Icmpv6)) => {
                format!("sent ICMP echo requests to {}{rest}", number("host", "hosts"))
            }
            (_, Some(Protocol::Arp)) => format!("sent ARP requests for {}{rest}", number("host", "hosts")),
            (_, Some(Protocol::Other(other))) => {
                format!("tried IP protocol {other} on {}{rest}", number("host", "hosts"))
            }
            (_, _) if self.targets.is_empty() => {
                format!("tried one port on {}{rest}", number("host", "hosts"))
            }
            _ => format!("tried {} on {}{rest}", self.ports(), number("host", "hosts")),
        }
    }

    fn searched(&self) -> String {
        let host = self
            .targets
            .first()
            .map_or_else(|| "one host".to_owned(), |seen| seen.target.address.to_string());
        let protocol = self.targets.first().map(|seen| format!("{} ", capital(seen.target.protocol)));
        let protocol = protocol.unwrap_or_default();
        let named = |metric: &Metric| {
            let (below, allowed) = (
                if metric.name == "low_ports" { " below 1024" } else { "" },
                Limit::Reached.beside(metric, count),
            );
            format!(
                "{} {protocol}{}{below} of {host}{allowed}",
                count(metric.value),
                plural(metric.value, "port")
            )
        };
        let first = self.metrics.first().map_or_else(|| format!("many ports of {host}"), named);
        format!("tried {first}{}", self.unanswered())
    }

    fn tried_patiently(&self) -> String {
        let what = match self.metrics.first() {
            Some(metric) => {
                let time = if metric.name == "targets_per_day" { "24 hours" } else { "an hour" };
                let targets = some(metric.value, "target", "targets");
                format!("{targets} within {time}{}", Limit::Reached.beside(metric, count))
            }
            None => "many targets".to_owned(),
        };
        let on = match (distinct(&self.targets, |seen| seen.target.port).as_slice(), self.victim(" of ")) {
            ([only], host) if host.is_empty() => format!(" on port {only}"),
            (_, host) => host,
        };
        // What other classes allow may come at once.
        let patiently =
            if self.window.end.since(self.window.start).as_secs() < 60 { "" } else { "patiently " };
        format!("{patiently}tried {what}{on}{}", self.unanswered())
    }

    fn probed(&self) -> String {
        let Some(first) = self.metrics.first() else {
            return format!("sent probes that belong to no connection{}", self.victim(" to "));
        };
        let allowed = Limit::Reached.beside(first, count);
        let number = count(first.value);
        let targets = match self.victim(" of ") {
            host if host.is_empty() => format!("{number} targets{allowed}"),
            host => format!("{number} {}{host}{allowed}", plural(first.value, "port")),
        };
        match &*first.name {
            "protocols" => {
                format!("tried {number} IP protocols{}{allowed}", self.victim(" of "))
            }
            "ack_probes" => format!("sent TCP acknowledgements that belong to no connection to {targets}"),
            _ => format!("sent TCP packets that no connection begins with (a stealth scan) to {targets}"),
        }
    }

    fn flooded(&self, what: &str) -> String {
        format!("sent a flood of {what}{}{}", self.door(" to "), self.rates())
    }

    /// `: 9,000 packets per second (allowed: fewer than 200) for 3 seconds, 0 % of which were completed`. What did not cross its limit is left out,
    /// but for the first if none did.
    fn rates(&self) -> String {
        let mut parts = Vec::new();
        for metric in &self.metrics {
            let (unit, after): (fn(f64) -> String, &str) = match &*metric.name {
                "packets_per_second" => (count, " packets per second"),
                "connections_per_second" => (count, " connections per second"),
                "network_packets_per_second" => (count, " packets per second to one network"),
                "total_packets_per_second" => (count, " packets per second in all"),
                "bits_per_second" => (bits, ""),
                "factor" => (count, " times as much as was asked for"),
                _ => continue,
            };
            if Limit::Reached.is_crossed(metric) {
                let allowed = Limit::Reached.beside(metric, unit);
                let allowed = if after.is_empty() { allowed.replacen("fewer", "less", 1) } else { allowed };
                parts.push(format!("{}{after}{allowed}", unit(metric.value)));
            } else if parts.is_empty() && self.metrics.iter().all(|one| !is_rate_over(one)) {
                parts.push(format!("{}{after}", unit(metric.value)));
            }
        }
        if parts.is_empty() {
            return String::new();
        }
        let lasted = self.metric("seconds").filter(|metric| Limit::Reached.is_crossed(metric));
        let lasted =
            lasted.map(|metric| metric.value).map(|seconds| format!(" for at least {}", time(seconds)));
        let share = |name, words| {
            self.value(name).map(|share: f64| match share {
                0.0 => format!("; none of them {words}"),
                share => format!("; {} of them {words}", percent(share)),
            })
        };
        let completed = share("completed", "led to a connection");
        let carried = share("carried", "carried anything");
        let answered = share("answered", "had an answer");
        let tail = [lasted, completed, carried, answered].into_iter().flatten().collect::<String>();
        format!(": {}{tail}", list(&parts))
    }

    fn crashed(&self) -> String {
        let kind = self.metrics.get(1).map(|metric| match &*metric.name {
            "land" => "addressed to their own sender (\"land\")".to_owned(),
            "ping_of_death" => "longer than IP allows when put together (\"ping of death\")".to_owned(),
            "overlapping_fragments" => "in fragments that overlap (\"teardrop\")".to_owned(),
            "uneven_fragment" => "in fragments of a length that IP forbids".to_owned(),
            "fragmented_igmp" => "of IGMP in fragments".to_owned(),
            "impossible_header" => "with impossible headers".to_owned(),
            other => other.replace('_', " "),
        });
        let kind = kind.map(|kind| format!(", {kind}")).unwrap_or_default();
        let packets = self.first(Limit::Reached, |value| some(value, "packet", "packets"));
        format!("sent {packets} made to crash its receiver{kind}{}", self.victim(" to "))
    }

    fn spammed(&self) -> String {
        let mut parts = Vec::new();
        for metric in self.metrics.iter().filter(|metric| Limit::Reached.is_crossed(metric)) {
            let value = metric.value;
            let what = match &*metric.name {
                "messages_per_minute" => format!("{} within a minute", some(value, "message", "messages")),
                "messages_per_hour" => format!("{} within an hour", some(value, "message", "messages")),
                "exchangers" => {
                    format!("mail to {} within 10 minutes", some(value, "mail server", "mail servers"))
                }
                "alike_messages" => format!("{} messages that are alike within an hour", count(value)),
                "alike_sites" => format!("to {} different sites", count(value)),
                "bounces_per_hour" => {
                    format!("{} messages without a sender (bounces) within an hour", count(value))
                }
                _ => continue,
            };
            parts.push(format!("{what}{}", Limit::Reached.beside(metric, count)));
        }
        let refused = self.metric("rejected").filter(|metric| Limit::Reached.is_crossed(metric));
        let refused = refused.map(|metric| {
            format!("; the receiving servers refused {} of the recipients", percent(metric.value))
        });
        let foreign = self.metric("foreign_sender_messages").map(|metric| {
            format!(
                "; {} bore a sender of a domain that is not its own",
                some(metric.value, "message", "messages")
            )
        });
        let what = if parts.is_empty() { "many messages".to_owned() } else { list(&parts) };
        format!("sent mail in bulk: {what}{}{}", refused.unwrap_or_default(), foreign.unwrap_or_default())
    }

    fn bombed(&self) -> String {
        let one = match self.metric("site_messages") {
            Some(_) => "recipients of one site",
            None => "one recipient",
        };
        let messages = self.first(Limit::Reached, |value| some(value, "message", "messages"));
        format!("sent {messages} to {one}")
    }

    fn relayed(&self) -> String {
        let number = |name, one, many| self.metric(name).map(|metric| some(metric.value, one, many));
        let allowed =
            |name| self.metric(name).map(|metric| Limit::Reached.beside(metric, count)).unwrap_or_default();
        let servers = number("next_hops", "mail server", "mail servers").map(|text| format!(" over {text}"));
        let domains = number("domains", "domain", "domains").map(|text| format!(" to {text}"));
        let messages = number("messages", "message", "messages")
            .map(|text| format!("{text} of strangers{}", allowed("messages")));
        let sealed = number("sealed_messages", "encrypted message", "encrypted messages").map(|text| {
            format!("{text} that came in from others shortly before{}", allowed("sealed_messages"))
        });
        let messages = messages.or(sealed).unwrap_or_else(|| "mail of strangers".to_owned());
        let asked = match (self.metric("accepted_by_check"), self.metric("refused_by_check")) {
            (Some(_), _) => "; asked by us, its mail server agreed to pass on a stranger's mail",
            (_, Some(_)) => "; asked by us, its mail server refused to pass on a stranger's mail",
            _ => "",
        };
        let (domains, servers) = (domains.unwrap_or_default(), servers.unwrap_or_default());
        format!("passed on {messages}{domains}{servers}, as an open relay does{asked}")
    }

    fn called(&self) -> String {
        let at = self.metrics.iter().find_map(|metric| {
            let name = metric.name.strip_prefix("calls_at_")?;
            Some((name, metric.value))
        });
        let service = at.map_or_else(String::new, |(name, _)| format!(" \"{name}\""));
        let Some(first) = self.metrics.first() else {
            return format!("called the protected service{service} more often than is allowed");
        };
        let allowed = Limit::Exceeded.beside(first, count);
        match &*first.name {
            "signups" => {
                let signups = some(first.value, "sign-up", "sign-ups");
                format!("made {signups} at the protected service{service}{allowed}")
            }
            "in_flight" => {
                format!(
                    "made {} calls at a time to the protected service{service}{allowed}",
                    count(first.value)
                )
            }
            "continuous_seconds" => {
                let allowed = Limit::Reached.beside(first, time).replacen("fewer", "less", 1);
                let lasted = time(first.value);
                format!("called the protected service{service} for {lasted} without a pause{allowed}")
            }
            // A burst may be over before its rate over a second is.
            "calls_per_second" if Limit::Exceeded.is_crossed(first) => format!(
                "called the protected service{service} {} times per second{allowed}",
                count(first.value)
            ),
            _ => {
                let number =
                    at.map_or_else(String::new, |(_, calls)| format!(": {}", some(calls, "call", "calls")));
                format!("called the protected service{service} in larger bursts than is allowed{number}")
            }
        }
    }

    fn crawled(&self) -> String {
        let rate = self.first(Limit::Reached, |value| format!("{} requests per second", count(value)));
        let lasted = self.value("seconds").map(|seconds| format!(" for {}", time(seconds)));
        let distinct = self
            .value("distinct")
            .map(|share| format!("; {} of them were for different pages", percent(share)));
        let to = self.victim(" at ");
        let (lasted, distinct) = (lasted.unwrap_or_default(), distinct.unwrap_or_default());
        format!("fetched pages of one site{to} at {rate}{lasted}{distinct}")
    }

    fn guessed(&self) -> String {
        let service = self.metrics.iter().rev().find(|metric| metric.threshold.is_none());
        let service = service.filter(|metric| metric.value == 1.0).map(|metric| service_name(&metric.name));
        let service = service.map(|name| format!("{name} ")).unwrap_or_default();
        let Some(first) = self.metrics.first() else {
            return format!("tried {service}logins that were refused again and again");
        };
        let (allowed, at) = (Limit::Reached.beside(first, count), self.victim(" at "));
        let number = count(first.value);
        match &*first.name {
            "hosts" => {
                let each = self.value("refusals_each").unwrap_or(1.0);
                let times = if each == 1.0 { "once".to_owned() } else { format!("{} times", count(each)) };
                format!(
                    "tried {service}logins on {number} hosts{allowed}, each of which refused at least {times}"
                )
            }
            "refusals" => {
                format!(
                    "tried {number} {service}logins with different credentials{at}{allowed}; all of them were refused"
                )
            }
            "sessions_alike" => {
                format!("made {number} {service}sessions{at} that look like refused logins{allowed}")
            }
            _ => format!("tried {number} {service}logins{at}{allowed}; all of them were refused"),
        }
    }

    fn claimed(&self, by: &str) -> String {
        let whose = self.victim(" ");
        let Some(first) = self.metrics.first() else { return format!("claimed addresses of others by {by}") };
        if first.name == "contested" {
            return format!(
                "claimed the address{whose} by {by} in turn with another machine, {}",
                some(first.value, "time", "times")
            );
        }
        let allowed = Limit::Reached.beside(first, count);
        let times = some(first.value, "time", "times");
        match whose.as_str() {
            "" => format!("claimed addresses of others by {by} {times}{allowed}"),
            one => format!("claimed the address{one} of another by {by} {times}{allowed}"),
        }
    }

    fn routed(&self) -> String {
        let kind = self.metrics.get(1).map(|metric| match &*metric.name {
            "router_advertisements" => "IPv6 router advertisement".to_owned(),
            "dhcp_answers" => "DHCP answer".to_owned(),
            "dhcpv6_answers" => "DHCPv6 answer".to_owned(),
            other => format!("{} message", other.to_uppercase()),
        });
        let kind = kind.unwrap_or_else(|| "message".to_owned());
        let number = self.metrics.first().map_or_else(
            || format!("{kind}s"),
            |first| {
                format!(
                    "{} {}{}",
                    count(first.value),
                    plural(first.value, &kind),
                    Limit::Reached.beside(first, count)
                )
            },
        );
        format!("sent {number}, which only routers and servers of the provider may send")
    }

    fn met_listed(&self) -> String {
        let lists: Vec<&str> =
            self.metrics.iter().filter_map(|metric| metric.name.strip_prefix("on_list_")).collect();
        let lists = match lists.as_slice() {
            [] => "blocklists".to_owned(),
            [only] => format!("the blocklist \"{only}\""),
            many => format!(
                "the blocklists {}",
                list(&many.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>())
            ),
        };
        let Some(first) = self.metrics.first() else { return format!("contacted hosts that are on {lists}") };
        let (hosts, allowed) = (some(first.value, "host", "hosts"), Limit::Reached.beside(first, count));
        let are = if first.value == 1.0 { "is" } else { "are" };
        match &*first.name {
            "silent" => format!("contacted {hosts}{allowed} on {lists} without an answer"),
            _ => format!("contacted {hosts}{allowed} that {are} on {lists} and answered"),
        }
    }

    fn used_up(&self) -> String {
        let Some(total) = self.metric("bytes") else {
            return "has used more traffic than its plan includes".to_owned();
        };
        let plan = total.threshold.unwrap_or(0.0);
        // Rounded down: what is not used up is not told as such.
        let share = if plan > 0.0 { (total.value * 100.0 / plan).floor() } else { 100.0 };
        let of = match self.value("bytes_in").zip(self.value("bytes_out")) {
            Some((received, sent)) => {
                format!(", {} of them received and {} sent", bytes(received), bytes(sent))
            }
            None => String::new(),
        };
        format!(
            "has used {share} % of the traffic that its plan includes this month: {} of {}{of}",
            bytes(total.value),
            bytes(plan)
        )
    }
}

fn is_rate_over(metric: &Metric) -> bool {
    (metric.name.ends_with("per_second") || metric.name == "factor") && Limit::Reached.is_crossed(metric)
}

fn plural(value: f64, one: &str) -> String {
    if value == 1.0 { one.to_owned() } else { format!("{one}s") }
}

fn service_name(name: &str) -> String {
    match name {
        "http" => "web".to_owned(),
        "telnet" => "Telnet".to_owned(),
        "mysql" => "MySQL".to_owned(),
        "postgres" => "PostgreSQL".to_owned(),
        "mssql" => "SQL Server".to_owned(),
        "mongodb" => "MongoDB".to_owned(),
        "redis" => "Redis".to_owned(),
        "kerberos" => "Kerberos".to_owned(),
        "rdp" => "remote desktop".to_owned(),
        other => other.to_uppercase(),
    }
}
