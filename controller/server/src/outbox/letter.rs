//! A notice as a letter: its own words, where to mend it and to answer, and its case.

use askama::Template;

use crate::links::{Links, What, Words};
use crate::store::Noticed;

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// One line.
    pub subject: String,
    /// For programs that show plain text.
    pub text: String,
    /// For others.
    pub html: String,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct Page<'a> {
    language: &'a str,
    subject: &'a str,
    provider: &'a str,
    paragraphs: Vec<&'a str>,
    links: Vec<(&'static str, String)>,
    until: &'static str,
    case: Option<String>,
}

impl Letter {
    /// The letter of a notice.
    pub fn of(one: &Noticed, provider: &str, links: Option<&Links>) -> Self {
        let (notice, words) = (&one.notice, Words::of(one.notice.language.as_str()));
        let ways: Vec<(&'static str, String)> = match links {
            Some(links) => What::of(notice, one.case.is_some())
                .iter()
                .map(|what| (words.way(*what), links.url(one.number, one.made, *what)))
                .collect(),
            None => Vec::new(),
        };
        let case = one.case.as_ref().map(|case| format!("{} {case}", words.case));
        let subject = match &one.case {
            Some(case) => format!("{} [{case}]", notice.subject),
            None => notice.subject.clone(),
        };
        let mut text = notice.text.clone();
        for (label, url) in &ways {
            text.push_str(&format!("\n\n{label}:\n{url}"));
        }
        if !ways.is_empty() {
            text.push_str(&format!("\n\n{}", words.links_end));
        }
        if let Some(case) = &case {
            text.push_str(&format!("\n\n{case}"));
        }
        text.push('\n');
        let page = Page {
            language: notice.language.as_str(),
            subject: &notice.subject,
            provider,
            paragraphs: notice.text.split("\n\n").collect(),
            until: if ways.is_empty() { "" } else { words.links_end },
            links: ways,
            case,
        };
        // It is written into memory: nothing of it can fail.
        let html = page.render().unwrap_or_default();
        Self { subject, text, html }
    }
}
