//! Tenants' file, read and checked: `[[tenant]]` tables, no address, interface, MAC, user or control group of two tenants.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use macaddr::MacAddr6;

use super::rules_read::{MODES, NAME, classes};
use super::tenants_local;
use crate::exemption::{ClausePattern, Exemption};
use crate::local::FIRST_USER;
use crate::mailbox::Mailbox;
use crate::reader::{Cell, ConfigErrors, Document, Schema, Section, Trace};
use crate::tenant::{Domain, InterfaceSelector, Name, Profile, Tenant, TenantId};
use crate::time::Timestamp;

/// The longest name that people may give a tenant, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// The tenants of a file.
///
/// # Errors
/// All that is wrong with it, with places.
pub fn parse_tenants(file: &str, text: &str) -> Result<Vec<Tenant>, ConfigErrors> {
    parse_tenants_from(file, text, FIRST_USER)
}

/// The tenants of a file on a node whose people's user ids begin at `first_user`.
///
/// # Errors
/// All that is wrong with it, with places.
pub fn parse_tenants_from(file: &str, text: &str, first_user: u32) -> Result<Vec<Tenant>, ConfigErrors> {
    Document::read(file, text, |root| tenants(root, first_user))
}

/// How a file of tenants is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantsFormat {
    /// `[[tenant]]` tables.
    Toml,
    /// A list of the same as objects, or an object with that list under `tenant`.
    Json,
    /// A line a tenant, with a line of headings, which are the keys. Exemptions have no place in it.
    Csv,
}

impl TenantsFormat {
    /// All of them, by their names.
    pub const ALL: [(&str, Self); 3] = [("toml", Self::Toml), ("json", Self::Json), ("csv", Self::Csv)];

    /// By the end of a file's name; TOML where that says nothing.
    #[must_use]
    pub fn of(file: &str) -> Self {
        let end = file.rsplit_once('.').map_or("", |(_, end)| end);
        Self::ALL.iter().find(|(name, _)| end.eq_ignore_ascii_case(name)).map_or(Self::Toml, |(_, one)| *one)
    }
}

/// What a line of CSV may hold of a tenant.
const COLUMNS: [(&str, Cell); 19] = [
    ("id", Cell::Text),
    ("name", Cell::Text),
    ("parent", Cell::Text),
    ("addresses", Cell::List),
    ("interfaces", Cell::List),
    ("macs", Cell::List),
    ("uids", Cell::List),
    ("cgroups", Cell::List),
    ("system_users", Cell::Flag),
    ("mode", Cell::Text),
    ("lifeline", Cell::List),
    ("profile", Cell::Text),
    ("mail_domains", Cell::List),
    ("relay_domains", Cell::List),
    ("mail_clients", Cell::List),
    ("known_offender", Cell::List),
    ("quota_bytes", Cell::Number),
    ("language", Cell::Text),
    ("contacts", Cell::List),
];

/// The tenants of a file that is written in one way or another. All keys mean the same in each.
///
/// # Errors
/// All that is wrong with it, with places.
pub fn parse_tenants_as(file: &str, text: &str, format: TenantsFormat) -> Result<Vec<Tenant>, ConfigErrors> {
    let read = |root: &Section<'_, '_>| tenants(root, FIRST_USER);
    match format {
        TenantsFormat::Toml => Document::read(file, text, read),
        TenantsFormat::Json => Document::read_json(file, text, "tenant", read),
        TenantsFormat::Csv => Document::read_csv(file, text, ("tenant", &COLUMNS), read),
    }
}

/// What files of tenants may hold, by what is asked for where `samples` are read. See [`Trace`].
///
/// # Errors
/// The tables that no sample holds.
pub fn tenants_schema(samples: &[&str]) -> Result<Schema, Vec<String>> {
    let trace = Trace::default();
    for sample in samples {
        // Those that lack something show what is required.
        let _ = trace.read(sample, |root| tenants(root, FIRST_USER));
    }
    trace.schema("Tenants of a node or network that Reeve watches")
}

fn tenants(root: &Section<'_, '_>, first_user: u32) -> Option<Vec<Tenant>> {
    let sections = root.sections("tenant");
    let mut tenants = Vec::new();
    let mut places = Vec::new();
    for section in &sections {
        if let Some(tenant) = tenant(section, first_user) {
            tenants.push(tenant);
            places.push(section);
        }
        section.finish();
    }
    for clash in clashes(&tenants) {
        let section = places[clash.second];
        let other = &tenants[clash.first].id;
        let allowed = format!("what tenant `{other}` does not have; {}", clash.what);
        section.reject_item(clash.key, clash.item, &allowed);
        if clash.key == "id" {
            section.reject("id", "an id that no tenant above has");
        }
    }
    Some(tenants)
}

/// Multicast has a length of 4, all of global IPv6 one of 3.
const LEAST_SPARED_LEN: u8 = 4;

fn tenant(section: &Section<'_, '_>, first_user: u32) -> Option<Tenant> {
    let id: Option<TenantId> = section.required("id", NAME);
    let name = section.text("name").unwrap_or_default();
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        section.reject("name", "at most 256 bytes without control characters");
    }
    let parent: Option<Name> = section.parsed("parent", NAME);
    let addresses = prefixes(section, "addresses");
    let interfaces: Option<Vec<InterfaceSelector>> = section.parsed_list("interfaces", "NODE/IFNAME");
    let macs: Option<Vec<MacAddr6>> =
        section.parsed_list("macs", "hardware addresses like 02:00:00:00:00:01");
    let local = tenants_local::read(section, first_user);
    let mode = section.one_of("mode", &MODES);
    let lifeline = spared(section, "lifeline");
    let profile = section.one_of("profile", &Profile::ALL);
    let domains = |key| -> Vec<Domain> {
        section.parsed_list(key, "domain names like mail.example").unwrap_or_default()
    };
    let (mail_domains, relay_domains) = (domains("mail_domains"), domains("relay_domains"));
    let mail_clients = prefixes(section, "mail_clients");
    let known_offender = classes(section, "known_offender");
    let quota_bytes = section.integer("quota_bytes", 0..=u64::MAX);
    let language = section.parsed("language", "a language tag such as en, nl or da");
    let contacts = contacts(section);
    let exemptions = exemptions(section);
    let (interfaces, macs) = (interfaces.unwrap_or_default(), macs.unwrap_or_default());
    let has_link = !(addresses.is_empty() && interfaces.is_empty() && macs.is_empty());
    let is_local = section.has("uids") || section.has("cgroups");
    if !has_link && !is_local && !section.has("addresses") {
        section.reject("addresses", "at least one of addresses, interfaces, macs, uids, cgroups");
    }
    Some(Tenant {
        id: id?,
        name: name.to_owned(),
        parent,
        addresses,
        interfaces,
        macs,
        uids: local.uids,
        cgroups: local.cgroups,
        system_users: local.system_users,
        mode,
        lifeline,
        profile: profile.unwrap_or_default(),
        mail_domains,
        relay_domains,
        mail_clients,
        known_offender,
        quota_bytes,
        language,
        contacts,
        exemptions,
    })
}

/// Where it is written to.
fn contacts(section: &Section<'_, '_>) -> Vec<Mailbox> {
    let contacts: Vec<Mailbox> =
        section.parsed_list("contacts", "addresses of mail like abuse@example.net").unwrap_or_default();
    if contacts.len() > Tenant::MAX_CONTACTS {
        section.reject("contacts", "at most 8 addresses of mail");
    }
    contacts
}

/// What it may do though a clause forbids it: `[[tenant.exemption]]` tables.
fn exemptions(section: &Section<'_, '_>) -> Vec<Exemption> {
    if !section.has("exemption") {
        return Vec::new();
    }
    let sections = section.sections("exemption");
    if sections.len() > Exemption::MAX {
        section.reject("exemption", "at most 32 exemptions of one tenant");
    }
    sections.iter().filter_map(exemption).collect()
}

fn exemption(section: &Section<'_, '_>) -> Option<Exemption> {
    let clause: Option<ClausePattern> = section.required("clause", ClausePattern::SYNTAX);
    let targets = prefixes(section, "targets");
    if targets.len() > Exemption::MAX_TARGETS {
        section.reject("targets", "at most 256 prefixes");
    }
    let ports: Vec<u16> = section.parsed_list("ports", "port numbers from 1 on").unwrap_or_default();
    if ports.len() > Exemption::MAX_PORTS || ports.contains(&0) {
        section.reject("ports", "at most 64 port numbers from 1 on; none for any port");
    }
    let allowed =
        "the written permission, such as \"letter of 3 May, ticket 4711\": at most 200 bytes on one line";
    let reference = section.required_text("reference", allowed);
    if reference.is_some_and(|reference| !Exemption::is_reference(reference)) {
        section.reject("reference", allowed);
    }
    let from = time(section, "from", false);
    let until = match section.moment("until").as_deref() {
        Some(Exemption::REVOKED) => None,
        Some(_) => time(section, "until", true),
        None => {
            if !section.has("until") {
                section.reject(
                    "until",
                    &format!("{TIME}, its last; or \"revoked\" where it holds until it is taken out"),
                );
            }
            None
        }
    };
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        section.reject("until", "a time after `from`");
    }
    section.finish();
    Some(Exemption {
        id: None,
        clause: clause?,
        targets,
        ports,
        reference: reference?.to_owned(),
        from,
        until,
    })
}

const TIME: &str = "a day like 2026-12-31, or a time like 2026-12-31T12:00:00Z";

fn time(section: &Section<'_, '_>, key: &str, is_end: bool) -> Option<Timestamp> {
    let text = section.moment(key)?;
    let time = Exemption::parse_time(&text, is_end);
    if time.is_none() {
        section.reject(key, TIME);
    }
    time
}

/// What addresses and prefixes are made of.
const PREFIX: &str = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";

/// Addresses and prefixes. One with bits behind its length may be meant for the address or for the prefix: it is asked.
pub(super) fn prefixes(section: &Section<'_, '_>, key: &str) -> Vec<IpNet> {
    let allowed = "addresses like 192.0.2.1 or prefixes like 2001:db8::/48 without bits behind their length";
    section.looks_like(key, PREFIX, "an address like 192.0.2.1 or a prefix like 2001:db8::/48");
    let texts: Vec<String> = section.parsed_list(key, allowed).unwrap_or_default();
    let mut addresses = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        match net {
            Ok(net) if net == net.trunc() => addresses.push(net),
            _ => section.reject_item(key, index, allowed),
        }
    }
    addresses
}

/// The same for what is spared. Half of an internet is nothing to spare: it is taken for a slip.
pub(super) fn spared(section: &Section<'_, '_>, key: &str) -> Vec<IpNet> {
    let nets = prefixes(section, key);
    if nets.iter().any(|net| net.prefix_len() < LEAST_SPARED_LEN) {
        section
            .reject(key, "prefixes with a length of at least 4; a shorter one would spare nearly everything");
    }
    nets
}

/// Something that two tenants have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The place of the tenant that had it first.
    pub first: usize,
    /// The place of the one that has it too.
    pub second: usize,
    /// `id`, `addresses`, `interfaces`, `macs`, `uids` or `cgroups`.
    pub key: &'static str,
    /// Its place in the second one's list.
    pub item: usize,
    /// What is shared, in words.
    pub what: String,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

impl std::error::Error for Clash {}

/// Whether a set of tenants is sound: no id, address, interface, MAC, user or control group belongs to two of them. A prefix within another
/// tenant's prefix is a clash too: a measure on the one would hold the other.
///
/// # Errors
/// The first clash.
pub fn check_tenants(tenants: &[Tenant]) -> Result<(), Clash> {
    clashes(tenants).into_iter().next().map_or(Ok(()), Err)
}

fn clashes(tenants: &[Tenant]) -> Vec<Clash> {
    let mut clashes = Vec::new();
    let mut ids: BTreeMap<&TenantId, usize> = BTreeMap::new();
    let mut interfaces: BTreeMap<(&InterfaceSelector, bool), usize> = BTreeMap::new();
    let mut macs: BTreeMap<MacAddr6, usize> = BTreeMap::new();
    for (second, tenant) in tenants.iter().enumerate() {
        let mut claim = |first: Option<usize>, key, item, what: String| {
            // The same thing twice under one tenant does no harm.
            if let Some(first) = first.filter(|first| *first != second) {
                clashes.push(Clash { first, second, key, item, what });
            }
        };
        claim(first_claim(&mut ids, &tenant.id, second), "id", 0, format!("{} stands twice", tenant.id));
        // Tenants that are told apart by MAC or address may share a port.
        let alone = tenant.macs.is_empty() && tenant.addresses.is_empty();
        for (item, selector) in tenant.interfaces.iter().enumerate() {
            let first = first_claim(&mut interfaces, (selector, alone), second);
            claim(first.filter(|_| alone), "interfaces", item, format!("{selector} is of both"));
        }
        for (item, mac) in tenant.macs.iter().enumerate() {
            claim(first_claim(&mut macs, *mac, second), "macs", item, format!("{mac} is of both"));
        }
    }
    clashes.extend(overlaps(tenants));
    clashes.extend(tenants_local::clashes(tenants));
    clashes
}

/// Prefixes of two tenants that share an address. Two prefixes are apart or one holds the other, so in the order of
/// their first addresses those that hold the one at hand are a stack.
fn overlaps(tenants: &[Tenant]) -> Vec<Clash> {
    let mut all: Vec<(IpNet, usize, usize)> = Vec::new();
    for (place, tenant) in tenants.iter().enumerate() {
        all.extend(tenant.addresses.iter().enumerate().map(|(item, prefix)| (prefix.trunc(), place, item)));
    }
    all.sort_by_key(|(prefix, place, item)| (prefix.network(), prefix.prefix_len(), *place, *item));
    let mut around: Vec<(IpNet, usize, usize)> = Vec::new();
    let mut clashes = Vec::new();
    for this in all {
        while around.last().is_some_and(|(outer, ..)| !outer.contains(&this.0)) {
            around.pop();
        }
        if let Some(&other) = around.iter().rev().find(|(_, place, _)| *place != this.1) {
            let (first, second) = if other.1 < this.1 { (other, this) } else { (this, other) };
            let names = (&tenants[second.1].id, &tenants[first.1].id);
            let what =
                format!("{} of {} shares addresses with {} of {}", second.0, names.0, first.0, names.1);
            clashes.push(Clash { first: first.1, second: second.1, key: "addresses", item: second.2, what });
        }
        around.push(this);
    }
    clashes
}

/// Who claimed `key` before; if nobody did, `claimant` has now.
fn first_claim<K: Ord>(claims: &mut BTreeMap<K, usize>, key: K, claimant: usize) -> Option<usize> {
    match claims.entry(key) {
        std::collections::btree_map::Entry::Occupied(entry) => Some(*entry.get()),
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(claimant);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let told: Vec<String> = match parse_tenants("t.toml", text) {
            Ok(tenants) => {
                assert_eq!(check_tenants(&tenants), Ok(()));
                Vec::new()
            }
            Err(errors) => errors.0.iter().map(|error| error.to_string().replace("t.toml:", "")).collect(),
        };
        assert_eq!(told.len(), expect.len(), "{text}\n{told:#?}");
        for (told, expect) in told.iter().zip(expect) {
            assert!(told.starts_with(expect), "{told}\nis not\n{expect}");
        }
    }

    const A: &str = "[[tenant]]\nid = \"a\"\naddresses = [\"203.0.113.0/24\", \"2001:db8::/48\"]\n";

    #[test]
    fn tenants_are_read() {
        check("", &[]);
        check(A, &[]);
        check(
            "[[tenant]]\nid = \"a\"\ninterfaces = [\"n/tap\"]\nmacs = [\"02:00:00:00:00:01\"]\nmode = \"observe\"",
            &[],
        );
        check("[[tenant]]\nid = \"a\"\nparent = \"r\"\nname = \"A B.V.\"\naddresses = []", &[]);
        check(&format!("{A}profile = \"mail\"\nmail_domains = [\"a.example\"]\nrelay_domains = []"), &[]);
        check(&format!("{A}quota_bytes = 20_000_000_000_000"), &[]);
        check(&format!("{A}contacts = [\"a@example.net\"]"), &[]);
        check(
            &format!("{A}contacts = [\"a\"]"),
            &["4:13: `tenant[1].contacts[1]`: found \"a\"; allowed: addresses of mail"],
        );
        let many = ["\"a@example.net\""; 9].join(", ");
        check(
            &format!("{A}contacts = [{many}]"),
            &["4:12: `tenant[1].contacts`: found a list; allowed: at most 8"],
        );
        check(&format!("{A}quota_bytes = -1"), &["4:15: `tenant[1].quota_bytes`: found -1"]);
        check(
            &format!("{A}profile = \"post\""),
            &["4:11: `tenant[1].profile`: found \"post\"; allowed: none, web"],
        );
        check(&format!("{A}mail_domains = [\"@a\"]"), &["4:17: `tenant[1].mail_domains[1]`: found \"@a\""]);
    }

    #[test]
    fn the_same_is_read_of_every_format() {
        let toml = "[[tenant]]\nid = \"a\"\nname = \"A, B.V.\"\naddresses = [\"203.0.113.0/24\", \"2001:db8::/48\"]\n\
                    interfaces = [\"n/tap0\"]\nuids = [\"n:1000-1010\"]\nsystem_users = false\nmode = \"observe\"\n\
                    profile = \"mail\"\nmail_domains = [\"a.example\"]\nquota_bytes = 20000\nlanguage = \"nl\"\n\
                    known_offender = [\"portscan.vertical\"]\n[[tenant]]\nid = \"b\"\nmacs = [\"02:00:00:00:00:01\"]\n";
        let json = r#"[{"id": "a", "name": "A, B.V.", "addresses": ["203.0.113.0/24", "2001:db8::/48"],
            "interfaces": ["n/tap0"], "uids": ["n:1000-1010"], "system_users": false, "mode": "observe",
            "profile": "mail", "mail_domains": ["a.example"], "quota_bytes": 20000, "language": "nl",
            "known_offender": ["portscan.vertical"]}, {"id": "b", "macs": ["02:00:00:00:00:01"], "parent": null}]"#;
        let csv = "id,name,addresses,interfaces,uids,system_users,mode,profile,mail_domains,quota_bytes,language,known_offender,macs\r\n\
                   a,\"A, B.V.\",203.0.113.0/24; 2001:db8::/48,n/tap0,n:1000-1010,false,observe,mail,a.example,20000,nl,portscan.vertical,\r\n\
                   b,,,,,,,,,,,,02:00:00:00:00:01\r\n";
        let read = |name: &str, text: &str| {
            parse_tenants_as(name, text, TenantsFormat::of(name)).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let expect = read("t.toml", toml);
        assert_eq!(expect.len(), 2);
        assert_eq!(read("t.json", json), expect);
        assert_eq!(read("t.JSON", &format!("{{\"tenant\": {json}}}")), expect);
        assert_eq!(read("t.csv", csv), expect);
        // Of exemptions JSON holds all that TOML does.
        let exempt = r#"[{"id": "a", "addresses": ["192.0.2.1"], "exemption": [{"clause": "x/scan", "targets": ["198.51.100.0/24"],
            "ports": [22], "reference": "letter", "from": "2026-12-01", "until": "2026-12-31"}]}]"#;
        let same = "[[tenant]]\nid = \"a\"\naddresses = [\"192.0.2.1\"]\n[[tenant.exemption]]\nclause = \"x/scan\"\n\
                    targets = [\"198.51.100.0/24\"]\nports = [22]\nreference = \"letter\"\nfrom = 2026-12-01\nuntil = 2026-12-31\n";
        assert_eq!(read("t.json", exempt), read("t.toml", same));
    }

    #[test]
    fn what_is_wrong_in_another_format_has_its_place_too() {
        for (name, text, expect) in [
            (
                "t.csv",
                "id,addresses,profile\na,192.0.2.1;192.0.2.300,web\n",
                "t.csv:2:13: `tenant[1].addresses[2]`: found \"192.0.2.300\"; allowed: addresses like",
            ),
            (
                "t.csv",
                "id,addresses,profile\na,192.0.2.1,post\n",
                "t.csv:2:13: `tenant[1].profile`: found \"post\"; allowed: none, web",
            ),
            (
                "t.csv",
                "id,adresses\na,192.0.2.1\n",
                "t.csv:1:4: `adresses`: found \"adresses\"; allowed: headings: id, name",
            ),
            ("t.csv", "id,quota_bytes,macs\na,12 GB,\n", "t.csv:2:1: `tenant[1].addresses`: found nothing"),
            (
                "t.csv",
                "id,addresses\na\n",
                "t.csv:2:1: found 1 cells; allowed: as many as there are headings: 2",
            ),
            ("t.csv", "", "t.csv:1:1: found nothing; allowed: a line of headings"),
            (
                "t.csv",
                "id,addresses\na,192.0.2.1\nb,192.0.2.1\n",
                "t.csv:3:3: `tenant[2].addresses[1]`: found \"192.0.2.1\"; allowed: what tenant `a` does not have",
            ),
            (
                "t.json",
                "[{\"id\": \"a\",\n  \"addresses\": \"192.0.2.1\"}]",
                "t.json:2:16: `tenant[1].addresses`: found \"192.0.2.1\"; allowed: a list of",
            ),
            (
                "t.json",
                "[{\"id\": \"a\", \"addresses\": [], \"profil\": \"web\"}]",
                "t.json:1:31: `tenant[1].profil`: found a key that is not known",
            ),
            ("t.json", "[{]", "t.json:1:3: found ']' in what is to be JSON; allowed: a key in double quotes"),
            ("t.json", "7", "t.json:1:1: found a value by itself; allowed: a list or an object"),
        ] {
            let errors = parse_tenants_as(name, text, TenantsFormat::of(name)).expect_err(text);
            assert!(errors.0[0].to_string().starts_with(expect), "{}\nis not\n{expect}", errors.0[0]);
        }
    }

    #[test]
    fn exemptions_are_read() {
        let with = |lines: &str| format!("{A}[[tenant.exemption]]\n{lines}\n");
        let good = "clause = \"x/scan\"\nreference = \"letter\"\n";
        check(
            &with(&format!("{good}targets = [\"192.0.2.0/24\"]\nports = [22]\nuntil = \"2026-12-31\"")),
            &[],
        );
        check(&with(&format!("{good}from = 2026-12-01\nuntil = 2026-12-31T12:00:00Z")), &[]);
        let read =
            parse_tenants("t.toml", &with(&format!("{good}from = 2026-12-01\nuntil = 2026-12-31"))).unwrap();
        let time = |text: &str| Some(text.parse().unwrap());
        assert_eq!(read[0].exemptions[0].from, time("2026-12-01T00:00:00Z"));
        assert_eq!(read[0].exemptions[0].until, time("2027-01-01T00:00:00Z"));
        check(&with(&format!("{good}until = \"revoked\"")), &[]);
        let place = |key: &str| format!("`tenant[1].exemption[1].{key}`");
        for (lines, at, key, found) in [
            (good.to_owned(), "4:1", "until", "nothing"),
            (format!("{good}until = \"soon\""), "7:9", "until", "\"soon\""),
            (format!("{good}until = 2026-02-30"), "7:9", "", ""),
            (format!("{good}until = 12"), "7:9", "until", "12"),
            (
                format!("{good}from = \"2026-12-02\"\nuntil = \"2026-12-01\""),
                "8:9",
                "until",
                "\"2026-12-01\"",
            ),
            (format!("{good}until = \"revoked\"\nports = [0]"), "8:9", "ports", "a list"),
            (format!("{good}until = \"revoked\"\ntargets = [\"a\"]"), "8:12", "targets[1]", "\"a\""),
            ("clause = \"x/scan\"\nuntil = \"revoked\"".into(), "4:1", "reference", "nothing"),
            (
                "clause = \"x/scan\"\nreference = \" \"\nuntil = \"revoked\"".into(),
                "6:13",
                "reference",
                "\" \"",
            ),
            (
                "clause = \"scan\"\nreference = \"l\"\nuntil = \"revoked\"".into(),
                "5:10",
                "clause",
                "\"scan\"",
            ),
            ("reference = \"l\"\nuntil = \"revoked\"".into(), "4:1", "clause", "nothing"),
            (format!("{good}until = \"revoked\"\ntarget = []"), "8:1", "target", "a key that is not known"),
        ] {
            if key.is_empty() {
                // No day of the calendar is no TOML.
                assert!(parse_tenants("t.toml", &with(&lines)).is_err());
                continue;
            }
            let found = format!("found {found}");
            check(&with(&lines), &[&format!("{at}: {}: {found}", place(key))]);
        }
    }

    #[test]
    fn what_two_tenants_claim_is_refused() {
        let also = |line: &str| format!("{A}[[tenant]]\nid = \"b\"\n{line}\n");
        check(
            &also("addresses = [\"203.0.113.0/24\"]"),
            &[
                "6:14: `tenant[2].addresses[1]`: found \"203.0.113.0/24\"; allowed: what tenant `a` does not have",
            ],
        );
        check(&also("addresses = [\"198.51.100.1\", \"203.0.113.7\"]"), &["6:30: `tenant[2].addresses[2]`"]);
        check(&also("addresses = [\"203.0.0.0/16\"]"), &["6:14: `tenant[2].addresses[1]`"]);
        check(&also("addresses = [\"203.0.112.0/24\", \"203.0.114.0/24\"]"), &[]);
        check(
            &format!("{A}[[tenant]]\nid = \"a\"\naddresses = [\"192.0.2.1\"]\n"),
            &["5:6: `tenant[2].id`: found \"a\""],
        );
        let mac = "macs = [\"02:00:00:00:00:01\"]\n";
        check(&format!("{A}{mac}[[tenant]]\nid = \"b\"\n{mac}"), &["7:9: `tenant[2].macs[1]`"]);
        let port = "interfaces = [\"n/tap\"]\n";
        check(
            &format!("[[tenant]]\nid = \"a\"\n{port}[[tenant]]\nid = \"b\"\n{port}"),
            &["6:15: `tenant[2].interfaces[1]`"],
        );
    }

    #[test]
    fn what_is_no_tenant_is_refused() {
        check("[[tenant]]\nid = \"a\"", &["1:1: `tenant[1].addresses`: found nothing"]);
        check(
            "[[tenant]]\nid = \"a\"\naddresses = [\"1.2.3.4/33\"]",
            &["3:14: `tenant[1].addresses[1]`: found \"1.2.3.4/33\""],
        );
        check(
            "[[tenant]]\nid = \"a\"\naddresses = \"1.2.3.4\"",
            &["3:13: `tenant[1].addresses`: found \"1.2.3.4\"; allowed: a list"],
        );
        check("[tenant]\nid = \"a\"", &["1:1: `tenant`: found a table; allowed: a list of tables"]);
    }
}
