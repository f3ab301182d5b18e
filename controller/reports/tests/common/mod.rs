//! Python with the package `xarf`, which brings the schemas of XARF 4 and its own examples.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The version whose schemas (4.2.0) reports are held against.
const PACKAGE: &str = "xarf==1.0.0";

/// A Python that has the package, in an environment of its own under `target`, which is made once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
        let (folder, own) = (target.join("xarf-venv"), target.join(format!("xarf-venv.{}", std::process::id())));
        let python = folder.join("bin/python");
        let is_ready = |python: &Path| {
            let ask = format!("import importlib.metadata as m; assert 'xarf==' + m.version('xarf') == '{PACKAGE}'; import xarf");
            python.exists() && Command::new(python).args(["-c", &ask]).output().is_ok_and(|done| done.status.success())
        };
        if !is_ready(&python) {
            // Made aside and moved there whole: another test may look at the same time. Its own paths are not used.
            let _ = std::fs::remove_dir_all(&folder);
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&own));
            run(Command::new(own.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]));
            if std::fs::rename(&own, &folder).is_err() {
                let _ = std::fs::remove_dir_all(&own);
            }
            assert!(is_ready(&python), "{} has no {PACKAGE}", folder.display());
        }
        python
    })
}

fn run(command: &mut Command) -> Output {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (./dev setup installs what is needed)"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done
}

/// What `tests/schemas.py` says to `input`, and whether it is content.
pub fn script(mode: &str, input: &[u8]) -> (bool, String) {
    // The controller's tests use it as well, from the folder beside.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/tests/schemas.py");
    let mut child = Command::new(python())
        .arg(file)
        .arg(mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    (done.status.success(), said + &String::from_utf8_lossy(&done.stderr))
}
