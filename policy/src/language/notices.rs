//! What a policy says of notices: who is told, in which languages, and with which words of the provider's own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules_read::classes;
use super::{Policy, Rule, Step};
use crate::class::Class;
use crate::decision::Action;
use crate::notice::{NoticeKind, Own, texts};
use crate::reader::{ConfigErrors, Section};
use crate::tenant::Name;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tell {
    /// The tenant itself.
    pub tenant: bool,
    /// The reseller above it; the tenant itself where there is none.
    pub parent: bool,
}

impl Tell {
    /// Both of them.
    pub const BOTH: Self = Self { tenant: true, parent: true };

    /// The words in policies.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let all = [("tenant", self.tenant), ("parent", self.parent)];
        all.into_iter().filter(|(_, is_told)| *is_told).map(|(word, _)| word)
    }
}

impl Default for Tell {
    /// The tenant alone.
    fn default() -> Self {
        Self { tenant: true, parent: false }
    }
}

/// How notices are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeSettings {
    /// Who is told, where neither a step nor a rule says so.
    pub tell: Tell,
    /// Classes of which tenant and parent are both told, where neither a step nor a rule says otherwise: third parties are being harmed.
    pub urgent: BTreeSet<Class>,
    /// The languages that the provider writes in; empty for all that there are texts of. Who has none of them is written to in the first, or in
    /// the policy's.
    pub languages: Vec<Name>,
    /// What the provider is called; perhaps empty.
    pub provider: String,
    /// Where it is reached; perhaps empty.
    pub contact: String,
    /// Texts in place of those that are compiled in, by language.
    pub texts: BTreeMap<Name, Own>,
}

/// The most that a provider's name or contact may hold, in bytes.
const MAX_LINE: usize = 300;
/// The most languages of a policy.
const MAX_LANGUAGES: usize = 16;

impl NoticeSettings {
    /// Reads `[notices]` over what is extended.
    pub(super) fn read(&mut self, section: &Section<'_, '_>) {
        if let Some(tell) = tell(section) {
            self.tell = tell;
        }
        if section.has("urgent") {
            self.urgent = classes(section, "urgent");
        }
        for (key, place) in [("provider", &mut self.provider), ("contact", &mut self.contact)] {
            let Some(text) = section.text(key) else { continue };
            if text.len() > MAX_LINE || text.chars().any(char::is_control) {
                section.reject(key, &format!("at most {MAX_LINE} bytes on one line"));
            }
            text.clone_into(place);
        }
        self.read_texts(section);
        if section.has("languages") {
            self.read_languages(section);
        }
        section.finish();
    }

    fn read_languages(&mut self, section: &Section<'_, '_>) {
        let known: Vec<&str> = texts::languages().map(Name::as_str).collect();
        let allowed = format!(
            "a list of languages that there are texts of: {}, and those of [notices.texts]",
            known.join(", ")
        );
        self.languages = section.parsed_list("languages", &allowed).unwrap_or_default();
        for (index, language) in self.languages.iter().enumerate() {
            if index >= MAX_LANGUAGES
                || !(texts::is_compiled_in(language) || self.texts.contains_key(language))
            {
                section.reject_item("languages", index, &allowed);
            }
        }
    }

    fn read_texts(&mut self, section: &Section<'_, '_>) {
        let Some(languages) = section.section("texts") else { return };
        for key in languages.free_keys() {
            let Some(one) = languages.section(&key) else { continue };
            let Ok(language) = key.parse::<Name>() else {
                languages.reject(&key, "a language tag such as nl");
                continue;
            };
            // A language that is compiled in, or that what is extended has whole, need not be given whole.
            let is_whole = texts::is_compiled_in(&language) || self.texts.contains_key(&language);
            let own = texts::read(&one, &|_, _| !is_whole);
            self.texts.entry(language).or_default().extend(own);
            one.finish();
        }
        if self.texts.len() > MAX_LANGUAGES {
            section.reject("texts", &format!("at most {MAX_LANGUAGES} languages"));
        }
        languages.finish();
    }
}

/// Who is told, if the table says so.
pub(super) fn tell(section: &Section<'_, '_>) -> Option<Tell> {
    let allowed =
        "a list of \"tenant\" and \"parent\", one of them or both; `notice = \"none\"` tells nobody";
    if !section.has("tell") {
        return None;
    }
    let words: Vec<String> = section.parsed_list("tell", allowed)?;
    section.is_among("tell", Tell::BOTH.words());
    for (index, word) in words.iter().enumerate() {
        if word != "tenant" && word != "parent" {
            section.reject_item("tell", index, allowed);
        }
    }
    if words.is_empty() {
        section.reject("tell", allowed);
    }
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    Some(Tell { tenant: has("tenant"), parent: has("parent") })
}

/// What kind of notice a step gives, if it says so.
pub(super) fn kind(section: &Section<'_, '_>) -> Option<NoticeKind> {
    section.one_of("notice", &NoticeKind::OF_STEPS.map(|kind| (kind.name(), kind)))
}

impl Step {
    /// What kind of notice it gives, about abuse of `class`.
    #[must_use]
    pub fn notice_kind(&self, class: Option<Class>) -> NoticeKind {
        self.notice.unwrap_or(match self.action {
            Action::Observe => NoticeKind::None,
            // Nobody is at fault who uses what was bought.
            Action::Notify if class == Some(Class::Quota) => NoticeKind::Information,
            Action::Notify => NoticeKind::Warning,
            Action::Limit | Action::Block | Action::Suspend => NoticeKind::Immediate,
        })
    }
}

impl Policy {
    /// Puts the texts of a file in place of those that the policy has: the file is as those that are compiled in, and may leave texts out where
    /// there are some of its language already.
    ///
    /// # Errors
    /// All that is wrong with the file, with places and what is allowed.
    pub fn add_texts(&mut self, file: &str, text: &str) -> Result<(), ConfigErrors> {
        let is_whole =
            |language: &Name| !texts::is_compiled_in(language) && !self.notices.texts.contains_key(language);
        let (language, own) = texts::read_file(file, text, &is_whole)?;
        self.notices.texts.entry(language).or_default().extend(own);
        Ok(())
    }

    /// Who is told of abuse of `class` by a step of a rule, or of what a person decided where there is none. What is said nearest to it
    /// counts: by the step, by the rule, by the class being urgent, by the policy.
    #[must_use]
    pub fn tells(&self, by: Option<(&Rule, Option<&Step>)>, class: Option<Class>) -> Tell {
        let said = by.and_then(|(rule, step)| step.and_then(|step| step.tell).or(rule.tell));
        let is_urgent = class.is_some_and(|class| self.notices.urgent.contains(&class));
        said.unwrap_or(if is_urgent { Tell::BOTH } else { self.notices.tell })
    }
}
