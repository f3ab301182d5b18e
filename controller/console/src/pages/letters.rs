//! The letters that a policy writes, and texts of one's own that are tried before they are in it.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::get;
use reeve_policy::Name;
use reeve_policy::language::Policy;
use reeve_policy::notice::{FILES, Notice, examples};
use reeve_proto::operator::v1::GetPolicyRequest;
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;

/// Letters that are shown at once; a policy of many rules is looked at clause by clause.
const LETTERS: usize = 200;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/policies/{name}/{version}/letters", get(show).post(preview))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    language: String,
    clause: String,
    /// Whether those that are compiled in are put where texts are written.
    begin: String,
    /// Those of one's own.
    texts: String,
}

/// One of them.
struct Letter {
    about: String,
    notice: Notice,
}

#[derive(Template)]
#[template(path = "letters.html")]
struct Letters {
    base: Base,
    name: String,
    href: String,
    here: String,
    asked: Asked,
    /// The languages that the policy may write in, and whether it is the one.
    languages: Vec<(String, bool)>,
    clauses: Vec<String>,
    letters: Vec<Letter>,
    left_out: usize,
    /// What is told of the language, or of one's own texts.
    told: Option<String>,
    is_wrong: bool,
}

impl Letters {
    fn more(&self) -> String {
        self.base.fill("letters.left_out", &[&self.left_out])
    }

    fn begin(&self) -> String {
        let query = [("language", &*self.asked.language), ("clause", &self.asked.clause), ("begin", "1")];
        address(&self.here, &[], &query)
    }
}

async fn show(
    session: Session,
    Path(policy): Path<(String, u32)>,
    Query(mut asked): Query<Asked>,
) -> Result<Response, Error> {
    // Texts that come in an address are nobody's who pressed a button here.
    asked.texts.clear();
    rendered(&session, policy, asked).await
}

async fn preview(
    session: Session,
    Path(policy): Path<(String, u32)>,
    Signed(asked): Signed<Asked>,
) -> Result<Response, Error> {
    rendered(&session, policy, asked).await
}

/// The part of a language's tag that texts are found by.
fn main(tag: &str) -> String {
    tag.split('-').next().unwrap_or_default().to_ascii_lowercase()
}

async fn rendered(
    session: &Session,
    (name, version): (String, u32),
    mut asked: Asked,
) -> Result<Response, Error> {
    let base = session.base("policies");
    let request = GetPolicyRequest { name: name.clone(), policy_version: version };
    let found = session.api().policies().get_policy(request).await?.into_inner();
    let mut policy =
        Policy::parse("policy", &found.resolved).map_err(|error| Error::Form(error.to_string()))?;
    // Browsers end lines with both signs.
    asked.texts = asked.texts.replace("\r\n", "\n");
    let (mut told, mut is_wrong) = (None, false);
    if !asked.texts.trim().is_empty()
        && let Err(error) = policy.add_texts("texts", &asked.texts)
    {
        (told, is_wrong) = (Some(error.to_string()), true);
    }
    let language = asked.language.trim().parse::<Name>().ok();
    let clause = asked.clause.trim();
    let all = examples(&policy, language.as_ref(), (!clause.is_empty()).then_some(clause));
    let written = all.first().map(|one| one.notice.language.to_string());
    if let (Some(language), Some(written), None) = (&language, &written, &told)
        && main(language.as_str()) != main(written)
    {
        told = Some(base.fill("letters.another", &[language, written]));
    }
    let chosen = written.unwrap_or_else(|| base.language().to_owned());
    if !asked.begin.is_empty() && asked.texts.is_empty() {
        let file = FILES.iter().find(|(tag, _)| *tag == main(&chosen));
        file.map_or("", |(_, text)| *text).clone_into(&mut asked.texts);
    }
    let compiled_in = FILES.iter().map(|(tag, _)| (*tag).to_owned());
    let own = policy.notices.texts.keys().map(ToString::to_string);
    let mut languages: Vec<String> = match policy.notices.languages.as_slice() {
        [] => compiled_in.chain(own).collect(),
        languages => languages.iter().map(ToString::to_string).collect(),
    };
    languages.sort();
    languages.dedup();
    let mut clauses: Vec<String> = policy.rules.iter().map(|rule| rule.clause.clone()).collect();
    clauses.sort();
    clauses.dedup();
    let left_out = all.len().saturating_sub(LETTERS);
    let letters = all.into_iter().take(LETTERS).map(|one| Letter {
        about: base.fill("letters.about", &[&one.clause, &one.rule, &one.step]),
        notice: one.notice,
    });
    let version = version.to_string();
    let page = Letters {
        name: format!("{name}@{version}"),
        href: address("/policies", &[&name, &version], &[]),
        here: address("/policies", &[&name, &version, "letters"], &[]),
        languages: languages.into_iter().map(|tag| (tag == chosen, tag)).map(|(is, tag)| (tag, is)).collect(),
        clauses,
        letters: letters.collect(),
        left_out,
        told,
        is_wrong,
        asked,
        base,
    };
    Ok(page::html(&page))
}
