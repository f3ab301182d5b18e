//! A real browser in one of the lab's namespaces: Debian's Chromium, driven by its own driver (WebDriver, <https://www.w3.org/TR/webdriver2/>), which curl talks to
//! where the driver is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use data_encoding::{BASE64, HEXLOWER};
use reeve_tests::lab::{Namespace, Process};
use reeve_tests::wait::wait_until;
use ring::digest::{SHA512, digest};
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(30);
/// The key of an element in answers (WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// What looks for faults that keep people from using a page (<https://github.com/dequelabs/axe-core>, MPL-2.0).
const AXE: (&str, &str) = (
    "axe-core@4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
);

/// The driver; browsers end with it.
pub struct Driver<'a> {
    inside: &'a Namespace,
    folder: PathBuf,
    address: String,
    _process: Process,
}

impl<'a> Driver<'a> {
    pub fn start(inside: &'a Namespace, folder: &Path, port: u16) -> anyhow::Result<Self> {
        let argument = format!("--port={port}");
        let process = inside.spawn(&["chromedriver", &argument, "--allowed-ips=127.0.0.1"])?;
        let address = format!("http://127.0.0.1:{port}");
        let driver = Self { inside, folder: folder.to_owned(), address, _process: process };
        wait_until("the driver to be ready", READY, || {
            Ok(driver.call("GET", "/status", None).is_ok_and(|status| status["ready"] == true))
        })?;
        Ok(driver)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.address);
        let mut argv =
            vec!["curl", "--silent", "--show-error", "--max-time", "55", "--request", method, &url];
        let file = self.folder.join("webdriver.json");
        let named = format!("@{}", file.display());
        if let Some(body) = body {
            std::fs::write(&file, body.to_string())?;
            argv.extend(["--header", "content-type: application/json", "--data-binary", &named]);
        }
        let told = self.inside.run(&argv, CALL)?.success()?.stdout;
        let answer: Value =
            serde_json::from_str(&told).with_context(|| format!("{method} {path}: {told}"))?;
        if let Some(error) = answer["value"]["error"].as_str() {
            bail!("{method} {path}: {error}: {}", answer["value"]["message"]);
        }
        Ok(answer["value"].clone())
    }

    /// A browser of its own, without anything from before; with scripts or without.
    pub fn browser(&self, name: &str, has_scripts: bool) -> anyhow::Result<Browser<'_>> {
        let profile = self.folder.join(format!("chromium-{name}"));
        let profile = format!("--user-data-dir={}", profile.display());
        // As root a browser has no sandbox of its own. It is shown nothing but what this machine serves.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--lang=en-GB",
            "--accept-lang=en",
            "--disable-background-networking",
            "--disable-component-update",
            "--window-size=1280,800",
            &profile,
        ];
        let scripts = if has_scripts { 1 } else { 2 };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts, "intl.accept_languages": "en" },
            },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = self.call("POST", "/session", Some(&wanted))?;
        let id = session["sessionId"].as_str().context("a session has a key")?.to_owned();
        Ok(Browser { driver: self, id })
    }
}

/// A browser with one window.
pub struct Browser<'a> {
    driver: &'a Driver<'a>,
    id: String,
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // With the driver it ends all the same.
        let _ = self.call("DELETE", "", None);
    }
}

impl Browser<'_> {
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.driver.call(method, &format!("/session/{}{path}", self.id), body)
    }

    /// Opens an address.
    pub fn open(&self, url: &str) -> anyhow::Result<()> {
        self.call("POST", "/url", Some(&json!({ "url": url }))).map(drop)
    }

    /// Where it is.
    pub fn address(&self) -> anyhow::Result<String> {
        Ok(self.call("GET", "/url", None)?.as_str().unwrap_or_default().to_owned())
    }

    /// What a script returns. It runs beside the page's policy, as a tool for developers does.
    pub fn run(&self, script: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.call("POST", "/execute/sync", Some(&json!({ "script": script, "args": arguments })))
    }

    /// The same of one that calls back.
    pub fn await_script(&self, script: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.call("POST", "/execute/async", Some(&json!({ "script": script, "args": arguments })))
    }

    fn find(&self, css: &str) -> anyhow::Result<String> {
        let found = self.call("POST", "/element", Some(&json!({ "using": "css selector", "value": css })));
        let found = found.with_context(|| {
            let says = self.run("return document.body.innerText", &[]).unwrap_or_default();
            format!("{css} at {}, which says {says}", self.address().unwrap_or_default())
        })?;
        Ok(found[ELEMENT].as_str().context("an element has a key")?.to_owned())
    }

    /// Whether something is there.
    pub fn has(&self, css: &str) -> anyhow::Result<bool> {
        let found =
            self.call("POST", "/elements", Some(&json!({ "using": "css selector", "value": css })))?;
        Ok(found.as_array().is_some_and(|all| !all.is_empty()))
    }

    /// Presses something, and waits for the page that comes of it. What was exchanged for another just then is looked for once more.
    pub fn press(&self, css: &str) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            let element = self.find(css)?;
            let pressed = self.call("POST", &format!("/element/{element}/click"), Some(&json!({})));
            tries += 1;
            match pressed {
                Err(error) if error.to_string().contains("stale element") && tries < 3 => {}
                pressed => return pressed.map(drop).with_context(|| css.to_owned()),
            }
        }
    }

    /// Types into a field, or presses keys there.
    pub fn type_in(&self, css: &str, text: &str) -> anyhow::Result<()> {
        let element = self.find(css)?;
        self.call("POST", &format!("/element/{element}/value"), Some(&json!({ "text": text })))
            .map(drop)
            .with_context(|| css.to_owned())
    }

    /// What stands somewhere, as it is seen.
    pub fn text(&self, css: &str) -> anyhow::Result<String> {
        let element = self.find(css)?;
        let told = self.call("GET", &format!("/element/{element}/text"), None)?;
        Ok(told.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until something is so, looking ten times a second.
    pub fn wait_for(&self, what: &str, script: &str, patience: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.run(script, &[])? != true {
            let page = || self.text("body").unwrap_or_default();
            ensure!(began.elapsed() < patience, "waited {patience:?} for {what}; the page says\n{}", page());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn develop(&self, command: &str, parameters: &Value) -> anyhow::Result<()> {
        self.call("POST", "/goog/cdp/execute", Some(&json!({ "cmd": command, "params": parameters })))
            .map(drop)
    }

    /// As wide and high as a desk's screen or a telephone's, by day or by night.
    pub fn look_like(&self, (width, height): (u32, u32), is_dark: bool) -> anyhow::Result<()> {
        let is_phone = width < 600;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.develop("Emulation.setDeviceMetricsOverride", &screen)?;
        let value = if is_dark { "dark" } else { "light" };
        self.develop(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] }),
        )
    }

    /// Keeps a picture of what is seen.
    pub fn picture(&self, file: &Path) -> anyhow::Result<()> {
        let told = self.call("GET", "/screenshot", None)?;
        let bytes = BASE64.decode(told.as_str().unwrap_or_default().as_bytes())?;
        Ok(std::fs::write(file, bytes)?)
    }

    /// What the browser itself complained of since it was asked last: errors of scripts, what a policy forbade, what could not be loaded.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let told = self.call("POST", "/se/log", Some(&json!({ "type": "browser" })))?;
        let all = told.as_array().cloned().unwrap_or_default().into_iter();
        Ok(all.filter(|one| one["level"] == "SEVERE").map(|one| one["message"].to_string()).collect())
    }

    /// What keeps people from using the page: those faults that axe calls serious or critical, each with where.
    pub fn faults(&self, axe: &str) -> anyhow::Result<Vec<String>> {
        self.run(axe, &[])?;
        let script = "const done = arguments[arguments.length - 1];
            axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then(
                (all) => done(all.violations.map((one) => [one.impact, one.id, one.nodes.map((node) => node.target.join(' ') + ': ' + node.failureSummary)])),
                (error) => done([['critical', 'axe', [String(error)]]]));";
        let told = self.await_script(script, &[])?;
        let all = told.as_array().context("axe tells a list")?.iter();
        let grave = all.filter(|one| one[0] == "serious" || one[0] == "critical");
        Ok(grave.map(ToString::to_string).collect())
    }
}

/// The script by which faults are found: fetched once, of one version, and held against what it is known to be.
pub fn axe() -> anyhow::Result<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let script = folder.join("package/axe.min.js");
    if !script.exists() {
        std::fs::create_dir_all(&folder)?;
        let packed = Command::new("npm")
            .args(["pack", "--silent", AXE.0])
            .current_dir(&folder)
            .output()
            .context("npm (Debian: npm)")?;
        ensure!(packed.status.success(), "npm: {}", String::from_utf8_lossy(&packed.stderr));
        let archive = folder.join(String::from_utf8(packed.stdout)?.trim());
        let is_known =
            digest(&SHA512, &std::fs::read(&archive)?).as_ref() == BASE64.decode(AXE.1.as_bytes())?;
        ensure!(
            is_known,
            "{} is not what it was: {}",
            AXE.0,
            HEXLOWER.encode(digest(&SHA512, &std::fs::read(&archive)?).as_ref())
        );
        let unpacked = Command::new("tar").arg("xzf").arg(&archive).current_dir(&folder).status()?;
        ensure!(unpacked.success(), "tar");
    }
    Ok(std::fs::read_to_string(script)?)
}
