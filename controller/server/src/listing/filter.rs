//! Filters: a part of AIP-160.
//!
//! ```text
//! filter     = and
//! and        = or { "AND" or }
//! or         = term { "OR" term }            OR binds harder than AND, as AIP-160 has it
//! term       = [ "NOT" | "-" ] ( "(" and ")" | comparison )
//! comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//! value      = text in " or ', with \ before these and itself; or a word without blanks and parentheses
//! ```

use reeve_policy::Timestamp;

use super::{Field, Kind, Value};

/// The longest filter, in bytes.
const MAX_BYTES: usize = 2_000;
/// The most comparisons.
const MAX_COMPARISONS: usize = 50;
/// The most parentheses and negations within each other.
const MAX_DEPTH: usize = 16;

/// What entries are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Anything.
    All,
    /// A field, by its place, compared with a value.
    Is(usize, Op, Value),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    /// The longer ones first.
    const ALL: [(&'static str, Self); 6] = [
        ("!=", Self::Ne),
        ("<=", Self::Le),
        (">=", Self::Ge),
        ("=", Self::Eq),
        ("<", Self::Lt),
        (">", Self::Gt),
    ];

    /// As SQL.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Eq => " = ",
            Self::Ne => " <> ",
            Self::Lt => " < ",
            Self::Le => " <= ",
            Self::Gt => " > ",
            Self::Ge => " >= ",
        }
    }
}

impl Filter {
    /// Whether an entry with these fields is meant.
    pub fn matches(&self, get: &impl Fn(usize) -> Value) -> bool {
        match self {
            Self::All => true,
            Self::Is(field, op, value) => {
                let order = get(*field).cmp(value);
                match op {
                    Op::Eq => order.is_eq(),
                    Op::Ne => order.is_ne(),
                    Op::Lt => order.is_lt(),
                    Op::Le => order.is_le(),
                    Op::Gt => order.is_gt(),
                    Op::Ge => order.is_ge(),
                }
            }
            Self::Not(inner) => !inner.matches(get),
            Self::And(all) => all.iter().all(|one| one.matches(get)),
            Self::Or(all) => all.iter().any(|one| one.matches(get)),
        }
    }
}

/// What is wrong with a filter, and at which character, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: usize,
    pub found: String,
    pub allowed: String,
}

/// Reads a filter; none is all.
pub(super) fn parse(text: &str, fields: &'static [Field]) -> Result<Filter, Wrong> {
    if text.len() > MAX_BYTES {
        let found = format!("{} bytes", text.len());
        return Err(Wrong { at: 1, found, allowed: format!("at most {MAX_BYTES}") });
    }
    let mut reader = Reader { text, at: 0, fields, comparisons: 0 };
    if reader.rest().trim().is_empty() {
        return Ok(Filter::All);
    }
    let filter = reader.and(0)?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.wrong("AND, OR or the end"));
    }
    Ok(filter)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    fields: &'static [Field],
    comparisons: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn character(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).chars().count() + 1
    }

    /// What comes next cannot come here.
    fn wrong(&self, allowed: impl Into<String>) -> Wrong {
        let word =
            self.rest().split(|letter: char| letter.is_whitespace() || "()=<>!".contains(letter)).next();
        let found = match word {
            Some("") | None => {
                self.rest().chars().next().map_or_else(|| "the end".into(), |one| format!("`{one}`"))
            }
            Some(word) => format!("`{}`", word.chars().take(40).collect::<String>().escape_debug()),
        };
        Wrong { at: self.character(self.at), found, allowed: allowed.into() }
    }

    /// Whether this word comes next; it is passed.
    fn takes(&mut self, word: &str) -> bool {
        self.blanks();
        let behind = self.rest().strip_prefix(word);
        let is_whole =
            |rest: &str| rest.chars().next().is_none_or(|next| next.is_whitespace() || next == '(');
        let is_next = behind.is_some_and(|rest| !word.starts_with(char::is_alphabetic) || is_whole(rest));
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn and(&mut self, depth: usize) -> Result<Filter, Wrong> {
        let mut all = vec![self.or(depth)?];
        while self.takes("AND") {
            all.push(self.or(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::And(all) })
    }

    fn or(&mut self, depth: usize) -> Result<Filter, Wrong> {
        let mut all = vec![self.term(depth)?];
        while self.takes("OR") {
            all.push(self.term(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::Or(all) })
    }

    fn term(&mut self, depth: usize) -> Result<Filter, Wrong> {
        self.blanks();
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("at most {MAX_DEPTH} parentheses and NOTs within each other")));
        }
        if self.takes("NOT") || self.takes("-") {
            return Ok(Filter::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.and(depth + 1)?;
            if !self.takes(")") {
                return Err(self.wrong("AND, OR or `)`"));
            }
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Filter, Wrong> {
        let rest = self.rest();
        let len =
            rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let name = &rest[..len];
        let Some(place) = self.fields.iter().position(|field| field.name == name) else {
            let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
            return Err(self.wrong(names.join(", ")));
        };
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(self.wrong(format!("at most {MAX_COMPARISONS} comparisons")));
        }
        self.at += len;
        self.blanks();
        let kind = self.fields[place].kind;
        let is_ordered = !matches!(kind, Kind::Words(_) | Kind::Flag);
        let op = Op::ALL.iter().find(|(text, _)| self.rest().starts_with(text));
        let Some((text, op)) = op.filter(|(_, op)| is_ordered || matches!(op, Op::Eq | Op::Ne)) else {
            return Err(self.wrong(if is_ordered { "=, !=, <, <=, > or >=" } else { "= or !=" }));
        };
        self.at += text.len();
        self.blanks();
        let start = self.at;
        let found = self.value()?;
        let value = meant(&found, kind).map_err(|allowed| {
            let found = format!("{:?}", found.chars().take(80).collect::<String>());
            Wrong { at: self.character(start), found, allowed }
        })?;
        Ok(Filter::Is(place, *op, value))
    }

    /// The value that comes next, as text.
    fn value(&mut self) -> Result<String, Wrong> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
            let len = rest
                .find(|letter: char| letter.is_whitespace() || matches!(letter, '(' | ')'))
                .unwrap_or(rest.len());
            if len == 0 {
                return Err(self.wrong("a value"));
            }
            self.at += len;
            return Ok(rest[..len].to_owned());
        };
        let (mut text, mut is_escaped) = (String::new(), false);
        for (at, letter) in rest.char_indices().skip(1) {
            match letter {
                _ if is_escaped => {
                    is_escaped = false;
                    text.push(letter);
                }
                '\\' => is_escaped = true,
                letter if letter == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                letter => text.push(letter),
            }
        }
        self.at = self.text.len();
        Err(self.wrong(format!("{quote} at the end of a text")))
    }
}

/// What a text means as a value of a field, or what would mean something.
fn meant(text: &str, kind: Kind) -> Result<Value, String> {
    match kind {
        Kind::Text if text.chars().any(char::is_control) => Err("a text without control characters".into()),
        Kind::Text => Ok(Value::text(text)),
        Kind::Words(words) if words.contains(&text) => Ok(Value::text(text)),
        Kind::Words(words) => Err(words.join(", ")),
        Kind::Number => match text.parse::<u64>() {
            Ok(number) => Ok(Value::number(number)),
            Err(_) => Err("a whole number, 0 or more".into()),
        },
        Kind::Time => match text.parse::<Timestamp>() {
            Ok(at) => Ok(Value::number(at.as_nanos())),
            Err(_) => Err("a time like 2026-01-31T12:00:00Z".into()),
        },
        Kind::Flag => match text {
            "true" => Ok(Value::Number(1)),
            "false" => Ok(Value::Number(0)),
            _ => Err("true, false".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static FIELDS: [Field; 5] = [
        Field { name: "id", kind: Kind::Text, column: "" },
        Field { name: "state", kind: Kind::Words(&["open", "quiet"]), column: "" },
        Field { name: "size", kind: Kind::Number, column: "" },
        Field { name: "at", kind: Kind::Time, column: "" },
        Field { name: "held", kind: Kind::Flag, column: "" },
    ];

    fn matches(text: &str) -> bool {
        let at: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let get = |field: usize| match field {
            0 => Value::text("alice"),
            1 => Value::text("open"),
            2 => Value::Number(5),
            3 => Value::number(at.as_nanos()),
            _ => Value::Number(1),
        };
        parse(text, &FIELDS).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}")).matches(&get)
    }

    #[test]
    fn filters_mean_what_they_say() {
        for (text, expect) in [
            ("", true),
            ("  ", true),
            ("id = alice", true),
            ("id=\"alice\"", true),
            ("id = 'al\\ice'", true),
            ("id != alice", false),
            ("id >= alice AND id < b", true),
            ("state = quiet OR state = open", true),
            ("NOT state = open", false),
            ("-state = open", false),
            ("-(state = quiet)", true),
            ("NOT(size > 4)", false),
            ("size > 4 AND size <= 5", true),
            ("size = 05", true),
            ("at >= 2026-01-31T12:00:00Z", true),
            ("at < \"2026-01-31T13:00:00+01:00\"", false),
            ("held = true", true),
            // OR binds harder: held AND (quiet OR open).
            ("held = false AND state = quiet OR state = open", false),
            ("(held = false AND state = quiet) OR state = open", true),
        ] {
            assert_eq!(matches(text), expect, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, found, allowed) in [
            ("name = a", 1, "`name`", "id, state, size, at, held"),
            ("id", 3, "the end", "=, !=, <, <=, > or >="),
            ("id : a", 4, "`:`", "=, !=, <, <=, > or >="),
            ("state < open", 7, "`<`", "= or !="),
            ("state = shut", 9, "\"shut\"", "open, quiet"),
            ("size = -1", 8, "\"-1\"", "a whole number, 0 or more"),
            ("at > today", 6, "\"today\"", "a time like 2026-01-31T12:00:00Z"),
            ("held = yes", 8, "\"yes\"", "true, false"),
            ("id =", 5, "the end", "a value"),
            ("id = a state = open", 8, "`state`", "AND, OR or the end"),
            ("id = a AND", 11, "the end", "id, state, size, at, held"),
            ("(id = a", 8, "the end", "AND, OR or `)`"),
            ("id = \"a", 8, "the end", "\" at the end of a text"),
            ("id = a and id = b", 8, "`and`", "AND, OR or the end"),
            ("é = a", 1, "`é`", "id, state, size, at, held"),
        ] {
            let wrong = parse(text, &FIELDS).expect_err(text);
            assert_eq!(
                (wrong.at, wrong.found.as_str(), wrong.allowed.as_str()),
                (at, found, allowed),
                "{text}"
            );
        }
        assert!(parse(&"(".repeat(1_000), &FIELDS).unwrap_err().allowed.contains("within each other"));
        assert!(parse(&["id = a"; 51].join(" OR "), &FIELDS).unwrap_err().allowed.contains("at most 50"));
        assert!(parse(&"x".repeat(3_000), &FIELDS).unwrap_err().allowed.contains("at most 2000"));
        assert!(parse("id = \"a\0b\"", &FIELDS).unwrap_err().allowed.contains("control"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(text in r#"((id|size|held|NOT|AND|OR|=|<|\(|\)|"|\\|'| |-|é|a|7){0,30})|.{0,60}"#) {
            match parse(&text, &FIELDS) {
                Ok(filter) => { let _ = filter.matches(&|_| Value::Number(1)); }
                Err(wrong) => prop_assert!(wrong.at >= 1 && wrong.at <= text.chars().count() + 1),
            }
        }
    }
}
