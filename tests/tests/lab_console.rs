//! The console in a real browser, before a real node: an operator signs in with a second factor, sees a live scan appear, reads its evidence and releases; a
//! viewer cannot; a second person approves; every page is looked at at a desk's width and a telephone's, by day and by night.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks for them")]

mod browser;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use browser::{Browser, Driver, axe};
use data_encoding::BASE32_NOPAD;
use reeve_tests::house::{House, binary};
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::VICTIM_V4;
use ring::hmac;

const URL: &str = "http://localhost:8091";
const PASSWORD: &str = "a horse, a battery";
const SOON: Duration = Duration::from_secs(20);
const TOOL: Duration = Duration::from_secs(60);
const DESK: (u32, u32) = (1_280, 800);
const PHONE: (u32, u32) = (360, 740);

/// The step of now (RFC 6238), not so near to its end that it is another one soon.
fn step() -> u64 {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        if now % 30 < 20 {
            return now / 30;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What an app shows.
fn code(secret: &[u8], step: u64) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

fn open_house() -> House {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let dir = house.path("controller");
    let made = Command::new(binary("reeve-controller").unwrap())
        .args(["init", "--admin", "root", "--dir"])
        .arg(&dir)
        .output();
    assert!(made.unwrap().status.success());
    let settings =
        format!("[console]\nlisten = \"127.0.0.1:8091\"\nurl = \"{URL}\"\n[approval]\ntenants = 1\n");
    std::fs::write(dir.join("controller.toml"), settings).unwrap();
    house.stop_controller().unwrap();
    house.start_controller().unwrap();
    house
}

/// What `reevectl` says to the administrator.
fn ask_as_root(house: &House, arguments: &[&str]) -> String {
    let (program, dir) = (binary("reevectl").unwrap(), house.path("controller"));
    let address = house.controller_url();
    let mut argv = vec![
        program.to_str().unwrap(),
        "--controller",
        &address,
        "--dir",
        dir.to_str().unwrap(),
        "--as",
        "root",
    ];
    argv.extend(arguments);
    house.lab.rt.run(&argv, TOOL).unwrap().success().unwrap().stdout.trim().to_owned()
}

/// Sets somebody's account up and signs them in, as they would.
fn sign_in(house: &House, browser: &Browser<'_>, name: &str, role: &str) {
    let invitation = ask_as_root(house, &["person", "add", name, "--role", role]);
    browser.open(&format!("{URL}/tenants?q=nobody")).unwrap();
    assert!(
        browser.address().unwrap().starts_with(&format!("{URL}/sign-in?next=")),
        "{:?}",
        browser.address()
    );
    browser.press("main a[href=\"/set-up\"]").unwrap();
    browser.type_in("#invitation", &invitation).unwrap();
    browser.press("main button").unwrap();
    let secret = BASE32_NOPAD.decode(browser.text("code.secret").unwrap().as_bytes()).unwrap();
    browser.type_in("#password", PASSWORD).unwrap();
    browser.type_in("#code", &code(&secret, step() - 1)).unwrap();
    browser.press("main button").unwrap();
    assert!(browser.has("ul.codes li").unwrap(), "{}", browser.text("body").unwrap());
    browser.press("main a.main").unwrap();
    // Without the second factor the password is nothing.
    browser.type_in("#name", name).unwrap();
    browser.type_in("#password", PASSWORD).unwrap();
    browser.type_in("#code", "000000").unwrap();
    browser.press("main button").unwrap();
    assert!(browser.has(".flash.wrong").unwrap() && browser.has("#code").unwrap());
    browser.type_in("#password", PASSWORD).unwrap();
    browser.type_in("#code", &code(&secret, step())).unwrap();
    browser.press("main button").unwrap();
    assert!(browser.has("header.top .who").unwrap(), "{}", browser.text("body").unwrap());
    // That the first one was refused it tells as well.
    browser.complaints().unwrap();
}

#[test]
fn people_on_call_work_in_a_browser() {
    let house = open_house();
    let driver = Driver::start(&house.lab.rt, &house.path(""), 9515).unwrap();
    let eva = driver.browser("eva", true).unwrap();
    sign_in(&house, &eva, "eva", "operator");
    let scanned = a_scan_appears_is_read_and_released(&house, &eva);
    a_viewer_looks_and_nothing_else(&house, &driver);
    a_second_person_approves(&house, &driver, &eva);
    keys_lead_everywhere(&eva);
    without_scripts_it_works(&house, &driver);
    // The administrator sees every page.
    let root = driver.browser("root", true).unwrap();
    sign_in(&house, &root, "adam", "admin");
    every_page_is_fit_to_be_looked_at(&house, &root, &scanned);
    strangers_pages_are_fit_as_well(&driver);
    what_strangers_write_is_text(&house, &root);
    the_first_page_moves_under_nobodys_hands(&root);
    eva.open(&format!("{URL}/")).unwrap();
    eva.press("header .who button").unwrap();
    assert!(eva.address().unwrap().starts_with(&format!("{URL}/sign-in")));
    eva.run("history.back()", &[]).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!eva.has("header.top .who").unwrap(), "what was seen is gone with the session");
}

/// What came of the scan: the violation.
fn a_scan_appears_is_read_and_released(house: &House, eva: &Browser<'_>) -> String {
    eva.open(&format!("{URL}/")).unwrap();
    // The feed is there when it was asked for once.
    let begin = "window.unmoved = true;
        new MutationObserver(() => { window.seen ||= Date.now(); }).observe(document.querySelector('#feed'), { childList: true });
        return !!document.querySelector('[sse-connect]')";
    eva.wait_for("the feed", begin, SOON).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let victim = VICTIM_V4.to_string();
    let nmap = house
        .lab
        .alice
        .spawn(&["nmap", "-n", "-Pn", "-sS", "-p", "1-400", "--max-retries", "0", &victim])
        .unwrap();
    let shows = "return !!document.querySelector('#feed a[href^=\"/violations/\"]') && document.querySelector('#feed').innerText.includes('alice')";
    eva.wait_for("the scan on the page", shows, SOON).unwrap();
    let shown = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    nmap.finish(TOOL).unwrap();
    let href = eva
        .run("return document.querySelector('#feed a[href^=\"/violations/\"]').getAttribute('href')", &[])
        .unwrap();
    let id = href.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let known = house.ask(&["violations", "show", &id]).unwrap();
    let opened = known["violation"]["opened"]
        .as_str()
        .or_else(|| known["violation"]["open_time"].as_str())
        .unwrap_or_default();
    println!("on the page at {:.3}; opened {opened}", shown.as_secs_f64());
    let held = "return document.querySelector('#board').innerText.includes('Suspended')";
    eva.wait_for("who is held", held, SOON).unwrap();
    assert_eq!(
        eva.run("return window.unmoved === true", &[]).unwrap(),
        true,
        "the page was not loaded again"
    );
    let delay = eva.run("return window.seen - Date.parse(arguments[0])", &[opened.into()]).unwrap();
    println!("from what the node calls its opening to the line in the browser: {delay} ms");

    eva.press("#board a[href=\"/tenants/alice\"]").unwrap();
    assert!(eva.text("h1").unwrap().contains("Suspended"));
    eva.press(&format!("a[href=\"/violations/{id}\"]")).unwrap();
    let told = eva.text("main").unwrap();
    assert!(told.contains(&victim) && told.contains("baseline/portscan"), "{told}");
    eva.press("main a[href=\"/tenants/alice\"]").unwrap();
    eva.type_in("#release-reason", "the server was cleaned").unwrap();
    eva.press("form[action=\"/tenants/alice/release\"] button").unwrap();
    assert!(eva.has(".flash:not(.wrong)").unwrap(), "{}", eva.text("main").unwrap());
    house.wait_for_state("alice", "clear", SOON).unwrap();
    eva.open(&format!("{URL}/tenants/alice")).unwrap();
    assert!(eva.text("h1").unwrap().contains("Clear"));
    assert_eq!(eva.complaints().unwrap(), [""; 0]);
    id
}

fn a_viewer_looks_and_nothing_else(house: &House, driver: &Driver<'_>) {
    let vera = driver.browser("vera", true).unwrap();
    sign_in(house, &vera, "vera", "viewer");
    vera.open(&format!("{URL}/tenants/alice")).unwrap();
    assert!(!vera.has("main form[method=post]").unwrap(), "{}", vera.text("main").unwrap());
    // With the mark of a form of her own she asks for it all the same.
    let forge = "const done = arguments[arguments.length - 1];
        const csrf = document.querySelector('[name=csrf]').value;
        fetch('/tenants/alice/suspend', { method: 'POST', body: new URLSearchParams({ csrf, reason: 'x', sure: '1', key: 'k' }) })
            .then((answer) => answer.text().then((text) => done(text)), (error) => done(String(error)));";
    let told = vera.await_script(forge, &[]).unwrap();
    assert!(
        told.as_str().unwrap().contains("flash wrong") || told.as_str().unwrap().contains("may not"),
        "{told}"
    );
    assert_eq!(house.status("alice").unwrap().state, "clear");
}

fn a_second_person_approves(house: &House, driver: &Driver<'_>, eva: &Browser<'_>) {
    eva.open(&format!("{URL}/tenants")).unwrap();
    for tenant in ["alice", "bob"] {
        eva.press(&format!("input[name=tenant][value={tenant}]")).unwrap();
    }
    eva.press("button[value=suspend]").unwrap();
    eva.type_in("#reason", "both were broken into").unwrap();
    eva.press("input[name=sure]").unwrap();
    eva.press("main form button.danger").unwrap();
    assert!(eva.text(".flash").unwrap().contains("second person"), "{}", eva.text("main").unwrap());
    assert_eq!(house.status("bob").unwrap().state, "clear");
    let otto = driver.browser("otto", true).unwrap();
    sign_in(house, &otto, "otto", "operator");
    otto.open(&format!("{URL}/")).unwrap();
    otto.press("#board a[href=\"/approvals\"]").unwrap();
    otto.press("main tbody a").unwrap();
    assert!(otto.text("pre").unwrap().contains("bob"));
    otto.type_in("#approve-reason", "I have seen it, too").unwrap();
    otto.press("form[action$=\"/approve\"] button").unwrap();
    assert!(otto.has(".flash:not(.wrong)").unwrap(), "{}", otto.text("main").unwrap());
    for tenant in ["alice", "bob"] {
        house.wait_for_state(tenant, "suspended", SOON).unwrap();
    }
    assert_eq!([eva.complaints().unwrap(), otto.complaints().unwrap()].concat(), [""; 0]);
}

fn keys_lead_everywhere(eva: &Browser<'_>) {
    eva.open(&format!("{URL}/")).unwrap();
    eva.type_in("body", "gt").unwrap();
    eva.wait_for("the tenants", "return location.pathname === '/tenants'", SOON).unwrap();
    let row = |number: usize| {
        format!("return document.querySelectorAll('[data-row]')[{number}].contains(document.activeElement)")
    };
    // Each time anew: typing into the page begins outside of all rows.
    for (keys, number) in [("j", 0), ("jj", 1), ("jjk", 0)] {
        eva.type_in("body", keys).unwrap();
        eva.wait_for("a row", &row(number), SOON).unwrap();
    }
    eva.type_in("body", "gn").unwrap();
    eva.wait_for("the first page", "return location.pathname === '/'", SOON).unwrap();
    eva.type_in("body", "j").unwrap();
    eva.wait_for("what needs somebody", &row(0), SOON).unwrap();
    eva.type_in("body", "?").unwrap();
    eva.wait_for("the keys", "return document.querySelector('#keys').open", SOON).unwrap();
    eva.press("#keys button").unwrap();
    eva.type_in("body", "/").unwrap();
    eva.wait_for("the search", "return document.activeElement.id === 'search'", SOON).unwrap();
    eva.type_in("#search", "203.0.113.10\u{e007}").unwrap();
    eva.wait_for("whose address it is", "return location.pathname === '/tenants/alice'", SOON).unwrap();
    // The first that one comes to by the tabulator leads to what the page is about.
    eva.open(&format!("{URL}/nodes")).unwrap();
    eva.type_in("body", "\u{e004}").unwrap();
    assert_eq!(eva.run("return document.activeElement.className", &[]).unwrap(), "skip");
    eva.type_in(".skip", "\u{e007}").unwrap();
    eva.wait_for("what the page is about", "return document.activeElement.id === 'main'", SOON).unwrap();
}

fn without_scripts_it_works(house: &House, driver: &Driver<'_>) {
    let nora = driver.browser("nora", false).unwrap();
    sign_in(house, &nora, "nora", "operator");
    nora.open(&format!("{URL}/violations")).unwrap();
    nora.press("form.filters button").unwrap();
    nora.open(&format!("{URL}/tenants/bob")).unwrap();
    nora.type_in("#release-reason", "all is well").unwrap();
    nora.press("form[action=\"/tenants/bob/release\"] button").unwrap();
    house.wait_for_state("bob", "clear", SOON).unwrap();
}

/// Where pictures are kept, to be looked at.
fn album() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn every_page_is_fit_to_be_looked_at(house: &House, root: &Browser<'_>, violation: &str) {
    let policy = house.path("ours.toml");
    std::fs::write(&policy, "[policy]\nname = \"ours\"\nversion = 1\nextends = \"baseline\"\n").unwrap();
    ask_as_root(house, &["policy", "upload", policy.to_str().unwrap()]);
    let letter = house.path("letter.eml");
    std::fs::write(
        &letter,
        "From: Bea <bea@example.net>\r\nTo: abuse@example.org\r\nSubject: Port scan\r\nMessage-ID: <1@example.net>\r\n\r\n\
         On 20 November your address 203.0.113.10 scanned our ports.\r\n",
    )
    .unwrap();
    ask_as_root(house, &["complaints", "submit", letter.to_str().unwrap()]);
    let case = house.ask(&["cases"]).unwrap()["cases"][0]["id"].as_str().unwrap().to_owned();
    let approval = ask_as_root(house, &["--json", "approvals", "list", "--all"]);
    let approval: serde_json::Value = serde_json::from_str(&approval).unwrap();
    let approval = approval["approvals"][0]["id"].as_str().unwrap().to_owned();
    let pages = [
        ("now", "/".to_owned()),
        ("tenants", "/tenants".to_owned()),
        ("tenants-bulk", "/tenants/bulk?act=suspend&tenant=alice&tenant=bob".to_owned()),
        ("tenant", "/tenants/alice".to_owned()),
        ("tenant-limit", "/tenants/alice/limit".to_owned()),
        ("tenant-exempt", "/tenants/alice/exempt".to_owned()),
        ("tenant-suspend", "/tenants/bob/suspend".to_owned()),
        ("violations", "/violations?state=all".to_owned()),
        ("violation", format!("/violations/{violation}")),
        ("cases", "/cases".to_owned()),
        ("case", format!("/cases/{case}")),
        ("complaints", "/complaints".to_owned()),
        ("complaint", "/complaints/1".to_owned()),
        ("complaint-new", "/complaints/new".to_owned()),
        ("nodes", "/nodes".to_owned()),
        ("node", "/nodes/rt".to_owned()),
        ("policies", "/policies".to_owned()),
        ("policy", "/policies/ours/1?against=baseline%401".to_owned()),
        ("policy-trial", "/policies/ours/1/trial?against=baseline%401&days=1".to_owned()),
        ("letters", "/policies/ours/1/letters?language=da&clause=baseline/portscan&begin=1".to_owned()),
        ("policy-new", "/policies/new".to_owned()),
        ("outbox", "/outbox".to_owned()),
        ("approvals", "/approvals?all=1".to_owned()),
        ("approval", format!("/approvals/{approval}")),
        ("audit", "/audit".to_owned()),
        ("account", "/account".to_owned()),
        ("nowhere", "/nowhere".to_owned()),
    ];
    let (axe, album) = (axe().unwrap(), album());
    let mut wrong = Vec::new();
    for (name, path) in &pages {
        for (width, size) in [("desk", DESK), ("phone", PHONE)] {
            for (light, is_dark) in [("light", false), ("dark", true)] {
                root.look_like(size, is_dark).unwrap();
                root.open(&format!("{URL}{path}")).unwrap();
                root.picture(&album.join(format!("{name}-{width}-{light}.png"))).unwrap();
                let told = root
                    .run("return [document.documentElement.scrollWidth, innerWidth, document.title]", &[])
                    .unwrap();
                if told[0].as_u64() > told[1].as_u64() {
                    wrong.push(format!("{name} on a {width} is {} wide, and {} are seen", told[0], told[1]));
                }
                let is_seen = "const here = document.querySelector('nav.places [aria-current]')?.getBoundingClientRect();
                    return !here || (here.left >= 0 && here.right <= innerWidth + 1)";
                if root.run(is_seen, &[]).unwrap() != true {
                    wrong.push(format!("{name} on a {width}: where one is cannot be seen"));
                }
                wrong.extend(
                    root.faults(&axe)
                        .unwrap()
                        .into_iter()
                        .map(|fault| format!("{name}, {width}, {light}: {fault}")),
                );
            }
        }
        let complaints = root.complaints().unwrap();
        // A page that there is not is told of by the browser, too.
        wrong.extend(
            complaints.into_iter().filter(|_| *name != "nowhere").map(|said| format!("{name}: {said}")),
        );
    }
    println!("{} pages, pictures in {}", pages.len(), album.display());
    assert!(wrong.is_empty(), "{} faults\n{}", wrong.len(), wrong.join("\n"));
}

/// What is seen before anybody is signed in.
fn strangers_pages_are_fit_as_well(driver: &Driver<'_>) {
    let nobody = driver.browser("nobody", true).unwrap();
    let (axe, album) = (axe().unwrap(), album());
    for (name, path) in [("sign-in", "/sign-in"), ("set-up", "/set-up")] {
        for (width, size) in [("desk", DESK), ("phone", PHONE)] {
            for (light, is_dark) in [("light", false), ("dark", true)] {
                nobody.look_like(size, is_dark).unwrap();
                nobody.open(&format!("{URL}{path}")).unwrap();
                nobody.picture(&album.join(format!("{name}-{width}-{light}.png"))).unwrap();
                assert_eq!(nobody.faults(&axe).unwrap(), [""; 0], "{name}, {width}, {light}");
            }
        }
    }
    assert_eq!(nobody.complaints().unwrap(), [""; 0]);
}

/// What would become elements, and would run, if it were not text.
const HOSTILE: &str = "\"'><img src=x onerror=hit=1><svg onload=hit=2><script>hit=3</script>";

fn what_strangers_write_is_text(house: &House, root: &Browser<'_>) {
    let tenants = house.path("strangers.json");
    let tenant = serde_json::json!({ "tenant": [{ "id": "mallory", "name": HOSTILE, "addresses": ["198.51.100.66/32"] }] });
    std::fs::write(&tenants, tenant.to_string()).unwrap();
    ask_as_root(house, &["tenants", "import", tenants.to_str().unwrap()]);
    let letter = house.path("hostile.eml");
    let text = format!(
        "From: {HOSTILE} <mallory@example.net>\r\nTo: abuse@example.org\r\nSubject: {HOSTILE}\r\nMessage-ID: <2@example.net>\r\n\r\n\
         A port scan came from 198.51.100.66. {HOSTILE}\r\n"
    );
    std::fs::write(&letter, text).unwrap();
    ask_as_root(house, &["complaints", "submit", letter.to_str().unwrap()]);
    // A reason, as a person writes it.
    root.look_like(DESK, false).unwrap();
    root.open(&format!("{URL}/tenants/mallory/suspend")).unwrap();
    root.type_in("#reason", HOSTILE).unwrap();
    root.press("input[name=sure]").unwrap();
    root.press("main form button.danger").unwrap();
    let typed: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let case =
        house.ask(&["cases", "--tenant", "mallory"]).unwrap()["cases"][0]["id"].as_str().unwrap().to_owned();
    let mut shown = 0;
    for path in [
        "/".to_owned(),
        "/tenants".to_owned(),
        format!("/tenants?q={typed}"),
        "/tenants/mallory".to_owned(),
        format!("/violations?tenant={typed}"),
        format!("/cases?clause={typed}"),
        format!("/cases/{case}"),
        "/complaints".to_owned(),
        "/complaints/2".to_owned(),
        format!("/complaints?kind={typed}"),
        "/approvals?all=1".to_owned(),
        "/audit".to_owned(),
        "/account".to_owned(),
        format!("/audit?who={typed}"),
    ] {
        root.open(&format!("{URL}{path}")).unwrap();
        let came = "const live = [...document.querySelectorAll('*')].filter((one) =>
                one.matches('img, script:not([src])') || [...one.attributes].some((has) => has.name.startsWith('on')));
            return [live.map((one) => one.outerHTML), window.hit ?? null, document.documentElement.innerHTML.includes('&lt;img')]";
        let came = root.run(came, &[]).unwrap();
        assert_eq!((&came[0], &came[1]), (&serde_json::json!([]), &serde_json::Value::Null), "{path}");
        shown += usize::from(came[2] == true);
    }
    assert!(shown >= 6, "what strangers wrote is on {shown} pages");
    // That nobody can be called so the browser tells, too. What a policy forbade would be an attempt.
    let all = root.complaints().unwrap().into_iter();
    assert_eq!(all.filter(|said| !said.contains("400 (Bad Request)")).collect::<Vec<_>>(), [""; 0]);
}

fn the_first_page_moves_under_nobodys_hands(root: &Browser<'_>) {
    root.open(&format!("{URL}/")).unwrap();
    root.type_in("body", "j").unwrap();
    // Another board than the one before: the focus is on the same thing, though that is another element.
    let renewed = "const done = arguments[arguments.length - 1];
        const board = document.querySelector('#board');
        const before = document.activeElement;
        board.addEventListener('htmx:beforeSwap', (event) => { event.detail.serverResponse += '<p>another</p>'; }, { capture: true, once: true });
        board.addEventListener('htmx:afterSettle', () => done([
            before.isConnected, document.activeElement.getAttribute('href') === before.getAttribute('href'), board.innerText.includes('another'),
        ]), { once: true });
        htmx.trigger(board, 'due');";
    let told = root.await_script(renewed, &[]).unwrap();
    assert_eq!(told, serde_json::json!([false, true, true]));
    // While a button is pressed nothing is exchanged; once it is let go, it is.
    let held = "const done = arguments[arguments.length - 1];
        const board = document.querySelector('#board');
        const link = board.querySelector('a');
        link.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }));
        board.addEventListener('htmx:afterRequest', () => {
            const stayed = link.isConnected;
            board.addEventListener('htmx:afterSettle', () => done([stayed, link.isConnected]), { once: true });
            link.dispatchEvent(new PointerEvent('pointerup', { bubbles: true }));
        }, { once: true });
        htmx.trigger(board, 'due');";
    assert_eq!(root.await_script(held, &[]).unwrap(), serde_json::json!([true, false]));
    let kept = "const done = arguments[arguments.length - 1];
        const feed = document.querySelector('#feed');
        for (let line = 0; line < 1000; line++) feed.insertAdjacentHTML('afterbegin', '<li>' + line + '</li>');
        setTimeout(() => done([feed.children.length, feed.firstElementChild.innerText]));";
    assert_eq!(root.await_script(kept, &[]).unwrap(), serde_json::json!([200, "999"]));
    // Its session ends elsewhere: the whole page goes, and does not show the sign-in page within itself.
    let end = "const done = arguments[arguments.length - 1];
        const csrf = document.querySelector('[name=csrf]').value;
        fetch('/sign-out', { method: 'POST', body: new URLSearchParams({ csrf }) }).then(() => done(true), () => done(false));";
    assert_eq!(root.await_script(end, &[]).unwrap(), true);
    root.run("htmx.trigger('#board', 'due')", &[]).unwrap();
    root.wait_for("the sign-in", "return location.pathname + location.search === '/sign-in?next=%2F'", SOON)
        .unwrap();
    assert!(!root.has("header.top").unwrap() && !root.has("#board").unwrap());
}
