//! Pages of the manual the tail of which is made from what the code says.

use std::fs;
use std::path::PathBuf;

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Asserts that `docs/PAGE.md` ends with `made`, or has it end so where `REEVE_UPDATE_DOCS` is set; `test` is the name of the test that asks.
pub fn check(page: &str, test: &str, made: &str) {
    let command = format!("REEVE_UPDATE_DOCS=1 cargo test -p reeve-agent --test {test}");
    let mark = format!("<!-- What follows is made by `{command}`. -->\n");
    let path = root().join("docs").join(page).with_extension("md");
    let text = fs::read_to_string(&path).expect("the page is there");
    let (head, _) = text.split_once(&mark).expect("the page has its mark");
    let wanted = format!("{head}{mark}{made}");
    if std::env::var_os("REEVE_UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).expect("the page can be written");
        return;
    }
    let line = wanted.lines().zip(text.lines()).find(|(wanted, found)| wanted != found);
    assert!(wanted == text, "{}: not what the code says, first here: {line:#?}\n{command}", path.display());
}
