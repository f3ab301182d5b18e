//! The house: controller and agent on the lab's node, as an operator would set them up.
//!
//! Model: the daemons are the built binaries, started on the node with certificates of their own authority, a settings
//! file and tenants that are imported by `reevectl`. Everything is known from outside: exit codes, what is printed, JSON.
//! Stopping is by `Drop`, with the lab's. A second node is a [`Neighbour`].

mod answers;
mod neighbour;
mod record;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

pub(crate) use answers::since_epoch;
pub use answers::{Status, Violation};
pub use neighbour::Neighbour;
pub use record::Played;

use crate::lab::addresses::{ALICE_PORT, BOB_PORT, UPLINK};
use crate::lab::{Finished, Lab, Process, Shape};
use crate::wait::{wait_for, wait_until};

/// The most that a daemon may take to be ready on a busy machine.
pub const READY: Duration = Duration::from_secs(20);
/// The most that a command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// The port that the controller listens on. The node has a network of its own, so nobody else can have it.
const PORT: u16 = 7443;
/// Where the controller tells its metrics.
pub const METRICS: &str = "127.0.0.1:9465";
/// Where an agent that is watched tells its own.
pub const AGENT_METRICS: &str = "127.0.0.1:9464";

/// The path of a built binary.
///
/// # Errors
/// When it is not there: then `cargo build` has not been run.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let dir = match std::env::var_os("REEVE_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            // Tests lie one folder below the binaries.
            let own = std::env::current_exe()?;
            let beside = own.parent().context("a program lies in a folder")?;
            if beside.ends_with("deps") {
                beside.parent().context("deps lies in a folder")?.to_owned()
            } else {
                beside.to_owned()
            }
        }
    };
    let path = dir.join(name);
    ensure!(path.exists(), "{} is not there: build it with `cargo build --bins`", path.display());
    Ok(path)
}

/// The daemons in a lab.
#[derive(Debug)]
pub struct House {
    // Dropped before the lab that they run in.
    agent: Option<Process>,
    controller: Option<Process>,
    /// The agent's mode, as its settings have it.
    mode: String,
    /// The policy, as the settings name it.
    policy: String,
    /// What an agent that is started logs.
    pub agent_log: &'static str,
    /// What its settings have beside what all have.
    settings: &'static str,
    /// Likewise, before all tables.
    keys: &'static str,
    /// What else it is started with.
    pub agent_arguments: Vec<String>,
    /// What agents have written down, in the order in which they were started.
    records: Vec<PathBuf>,
    /// The lab.
    pub lab: Lab,
}

impl House {
    /// A controller and an enforcing agent in `lab`, linked, with the tenants alice and bob.
    ///
    /// # Errors
    /// When a daemon does not come up, with what it said.
    pub fn open(lab: Lab) -> anyhow::Result<Self> {
        Self::open_in_mode(lab, "enforce")
    }

    /// The same in another mode.
    ///
    /// # Errors
    /// As [`House::open`].
    pub fn open_in_mode(lab: Lab, mode: &str) -> anyhow::Result<Self> {
        Self::empty(lab).furnish(mode)
    }

    /// The same enforcing, with a policy of one's own (its text; without it the baseline), and with an agent that writes a record.
    ///
    /// # Errors
    /// As [`House::open`].
    pub fn open_recorded(lab: Lab, policy: Option<&str>) -> anyhow::Result<Self> {
        let mut house = Self::empty(lab);
        if let Some(policy) = policy {
            std::fs::write(house.path("policy.toml"), policy)?;
            "policy.toml".clone_into(&mut house.policy);
        }
        house.agent_arguments = vec!["--record".to_owned(), house.text(record::RECORD)];
        house.furnish("enforce")
    }

    /// The same as [`House::open`], with an agent that tells its metrics.
    ///
    /// # Errors
    /// As [`House::open`].
    pub fn open_watched(lab: Lab) -> anyhow::Result<Self> {
        let mut house = Self::empty(lab);
        house.settings = "[metrics]\nlisten = \"127.0.0.1:9464\"\n";
        house.furnish("enforce")
    }

    fn empty(lab: Lab) -> Self {
        Self {
            agent: None,
            controller: None,
            mode: String::new(),
            policy: "baseline".to_owned(),
            agent_log: "info",
            settings: "",
            keys: "",
            agent_arguments: Vec::new(),
            records: Vec::new(),
            lab,
        }
    }

    fn furnish(mut self, mode: &str) -> anyhow::Result<Self> {
        let house = &mut self;
        house.write_files(mode)?;
        let dir = house.path("controller");
        let made = Command::new(binary("reeve-controller")?)
            .args(["init", "--node", "rt", "--operator", "oncall", "--dir"])
            .arg(&dir)
            .output()?;
        ensure!(made.status.success(), "init: {}", String::from_utf8_lossy(&made.stderr));
        house.start_controller()?;
        house.reevectl(&["tenants", "import", &house.text("tenants.toml")])?.success()?;
        house.start_agent()?;
        Ok(self)
    }

    /// Starts the controller and waits until it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub fn start_controller(&mut self) -> anyhow::Result<()> {
        let program = binary("reeve-controller")?;
        let listen = format!("127.0.0.1:{PORT}");
        let dir = self.text("controller");
        let argv = [text(&program), "run", "--dir", &dir, "--listen", &listen, "--metrics", METRICS];
        let mut controller = self.lab.rt.spawn(&argv)?;
        wait_until("the controller to listen", READY, || {
            ensure!(controller.is_running()?, "{}", controller.last_lines(10));
            Ok(controller.stderr().contains("listening"))
        })?;
        self.controller = Some(controller);
        Ok(())
    }

    /// Starts the agent and waits until the controller knows it and it knows the tenants.
    ///
    /// # Errors
    /// When it ends, or is not linked in time.
    pub fn start_agent(&mut self) -> anyhow::Result<()> {
        let program = binary("reeve-agent")?;
        let config = self.text("agent.toml");
        let mut argv = vec![text(&program), "run", "--config", &config, "--log", self.agent_log];
        argv.extend(self.agent_arguments.iter().map(String::as_str));
        let record = self.path(&format!("house-record-{}", self.records.len()));
        if !self.agent_arguments.iter().any(|argument| argument == "--record") {
            argv.extend(["--record", text(&record)]);
            self.records.push(record.clone());
        }
        let mut agent = self.lab.rt.spawn(&argv)?;
        wait_until("the agent to be linked", READY, || {
            ensure!(agent.is_running()?, "{}", agent.last_lines(10));
            Ok(agent.stderr().contains("linked to the controller"))
        })?;
        self.agent = Some(agent);
        // An observing agent keeps none, and takes away what an enforcing one left.
        let enforcing = self.mode == "enforce";
        wait_until("the agent to keep its table, or none", READY, || {
            Ok(self.lab.rt.ruleset()?.contains("table inet reeve") == enforcing)
        })?;
        Ok(())
    }

    /// Stops the agent as the service manager would.
    ///
    /// # Errors
    /// When it does not stop in time, or not with code 0.
    pub fn stop_agent(&mut self) -> anyhow::Result<()> {
        let agent = self.agent.take().context("the agent is not running")?;
        agent.terminate(READY)?.success().map(drop)
    }

    /// Kills the agent as a crash would; what it had logged.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_agent(&mut self) -> anyhow::Result<String> {
        self.agent.take().context("the agent is not running")?.kill()
    }

    /// Kills the controller as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_controller(&mut self) -> anyhow::Result<()> {
        self.controller.take().context("the controller is not running")?.kill().map(drop)
    }

    /// Stops the controller.
    ///
    /// # Errors
    /// When it does not stop in time, or not with code 0.
    pub fn stop_controller(&mut self) -> anyhow::Result<()> {
        let controller = self.controller.take().context("the controller is not running")?;
        controller.terminate(READY)?.success().map(drop)
    }

    /// Stops the agent, and replays what it and those before it have written down: with one shard and with several it gives
    /// what ran live, byte for byte. How many outputs were compared.
    ///
    /// # Errors
    /// When a replay differs, with where.
    pub fn check_parity(&mut self) -> anyhow::Result<u64> {
        if self.agent.is_some() {
            self.stop_agent()?;
        }
        let mut equal = 0;
        for record in &self.records {
            for shards in ["1", "3"] {
                let argv = ["replay", "--recorded", "--json", "--shards", shards, text(record)];
                let replayed = self.reeve_agent(&argv)?.success()?;
                let end: Value = serde_json::from_str(replayed.stdout.lines().last().context("no end")?)?;
                equal += end["played"]["equal"].as_u64().context("a replay tells how much was equal")?;
            }
        }
        ensure!(equal > 0, "there was something to compare");
        Ok(equal)
    }

    /// The same with more in the agent's settings.
    ///
    /// # Errors
    /// As [`House::open`].
    pub fn open_with(lab: Lab, policy: &str, settings: &'static str) -> anyhow::Result<Self> {
        let mut house = Self::empty(lab);
        std::fs::write(house.path("policy.toml"), policy)?;
        "policy.toml".clone_into(&mut house.policy);
        house.agent_arguments = vec!["--record".to_owned(), house.text(record::RECORD)];
        house.settings = settings;
        house.furnish("enforce")
    }

    /// The same with an agent that takes policies from the controller: until it is assigned one, this one holds.
    ///
    /// # Errors
    /// As [`House::open`].
    pub fn open_assigned(lab: Lab, policy: &str, settings: &'static str) -> anyhow::Result<Self> {
        let mut house = Self::empty(lab);
        std::fs::write(house.path("policy.toml"), policy)?;
        "policy.toml".clone_into(&mut house.policy);
        (house.keys, house.settings) = ("policy_from = \"controller\"\n", settings);
        house.furnish("enforce")
    }

    /// The agent's process.
    #[must_use]
    pub fn agent(&self) -> Option<&Process> {
        self.agent.as_ref()
    }

    /// What the daemons last said, to be shown when something failed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let of = |process: &Option<Process>| {
            process.as_ref().map_or(String::new(), |process| process.last_lines(25))
        };
        format!("{}\n{}", of(&self.controller), of(&self.agent))
    }

    /// Where the controller is, inside the node.
    #[must_use]
    pub fn controller_url(&self) -> String {
        format!("https://127.0.0.1:{PORT}")
    }

    /// Runs `reevectl` as the operator `oncall`.
    ///
    /// # Errors
    /// When it cannot be run or does not end. A code other than 0 is no error here.
    pub fn reevectl(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let (program, dir, url) =
            (binary("reevectl")?, self.text("controller"), format!("https://127.0.0.1:{PORT}"));
        let mut argv = vec![text(&program), "--controller", &url, "--dir", &dir, "--as", "oncall"];
        argv.extend(arguments);
        self.lab.rt.run(&argv, COMMAND)
    }

    /// What `reevectl --json` answers.
    ///
    /// # Errors
    /// When it fails, or answers with something else than JSON.
    pub fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let finished = self.reevectl(&all)?.success()?;
        serde_json::from_str(&finished.stdout).with_context(|| format!("not JSON: {}", finished.stdout))
    }

    /// Runs `reeve-agent` on the node.
    ///
    /// # Errors
    /// When it cannot be run or does not end. A code other than 0 is no error here.
    pub fn reeve_agent(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let program = binary("reeve-agent")?;
        let mut argv = vec![text(&program)];
        argv.extend(arguments);
        self.lab.rt.run(&argv, COMMAND)
    }

    /// Where a tenant stands, by its id or one of its addresses.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn status(&self, subject: &str) -> anyhow::Result<Status> {
        Status::read(&self.ask(&["status", subject])?)
    }

    /// Waits until a tenant stands so; how long that took.
    ///
    /// # Errors
    /// When it does not in time, with what the daemons said.
    pub fn wait_for_state(
        &self,
        tenant: &str,
        state: &str,
        deadline: Duration,
    ) -> anyhow::Result<(Status, Duration)> {
        let look = || Ok(Some(self.status(tenant)?).filter(|status| status.state == state));
        wait_for(&format!("{tenant} to be {state}"), deadline, look).with_context(|| self.last_words())
    }

    /// All violations, newest first.
    ///
    /// # Errors
    /// When they cannot be asked for.
    pub fn violations(&self) -> anyhow::Result<Vec<Violation>> {
        Violation::read_all(&self.ask(&["violations", "--limit", "500"])?)
    }

    /// Waits for an open violation of a tenant by an alert of `class`.
    ///
    /// # Errors
    /// When there is none in time, with what there is.
    pub fn wait_for_violation(
        &self,
        tenant: &str,
        class: &str,
        deadline: Duration,
    ) -> anyhow::Result<Violation> {
        // One that was released is an earlier tool's.
        let is_it = |violation: &Violation| {
            violation.tenant == tenant && violation.class == class && violation.state == "open"
        };
        let found = wait_for(&format!("a {class} violation of {tenant}"), deadline, || {
            Ok(self.violations()?.into_iter().find(|violation| is_it(violation)))
        });
        match found {
            Ok((violation, _)) => Ok(violation),
            Err(error) => bail!("{error:#}\nthere is {:#?}\n{}", self.violations()?, self.last_words()),
        }
    }

    /// A path in the lab's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.lab.dir().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes the agent's settings and the tenants' file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_files(&mut self, mode: &str) -> anyhow::Result<()> {
        mode.clone_into(&mut self.mode);
        let dir = self.text("controller");
        let (kind, interfaces) = match self.lab.shape() {
            Shape::Local => ("uplink", format!("\"{UPLINK}\"")),
            Shape::Routed | Shape::Gateway | Shape::Bridged { .. } => {
                ("port", format!("\"{ALICE_PORT}\", \"{BOB_PORT}\""))
            }
        };
        let settings = format!(
            "node = \"rt\"\nmode = \"{mode}\"\npolicy = \"{}\"\nstate_dir = \"agent-state\"\n{}\n\
             [[vantage]]\nkind = \"{kind}\"\ninterfaces = [{interfaces}]\n\n\
             [controller]\naddress = \"https://127.0.0.1:{PORT}\"\nca = \"{dir}/ca.crt\"\n\
             certificate = \"{dir}/nodes/rt.crt\"\nkey = \"{dir}/nodes/rt.key\"\n{}",
            self.policy, self.keys, self.settings
        );
        std::fs::write(self.path("agent.toml"), settings)?;
        let tenants = match self.lab.shape() {
            // On the uplink she is told by her addresses alone; a prefix would be the node's as well.
            Shape::Local => TENANTS
                .replace("interfaces = [\"rt/tap1\"]\n", "")
                .replace("interfaces = [\"rt/tap2\"]\n", "")
                .replace("2001:db8:10::/64", "2001:db8:10::10"),
            Shape::Routed | Shape::Gateway | Shape::Bridged { .. } => TENANTS.to_owned(),
        };
        std::fs::write(self.path("tenants.toml"), tenants)?;
        Ok(())
    }
}

/// The tenants' file.
pub const TENANTS: &str = "\
[[tenant]]
id = \"alice\"
name = \"Alice's Shop\"
addresses = [\"203.0.113.10\", \"2001:db8:10::/64\"]
interfaces = [\"rt/tap1\"]
mail_domains = [\"alice.example\"]

[[tenant]]
id = \"bob\"
name = \"Bob B.V.\"
addresses = [\"203.0.113.138\", \"2001:db8:20::/64\"]
interfaces = [\"rt/tap2\"]
";

/// A path as text; the lab's paths are all made of plain letters.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
