//! Pictures that are drawn on the server: what happened to a tenant, day by day, and what it sent and received, month by month.
//!
//! They are SVG without styles and scripts, so that they stand under the strictest policy of contents; colours are such that they can be told from light and dark
//! backgrounds, and no fact is in a colour alone. Every text in them may be a stranger's and is escaped here ([`escaped`]); what is linked is a path of ours.
//! Each picture has a title and a description; the table that says the same stands beside it on the page.
//!
//! Left out: scales that move, and more lanes or marks than somebody can look at ([`MAX_LANES`], [`MAX_MARKS`]); what is cut is counted.

use std::fmt::Write as _;

/// The most lanes of a timeline.
pub(crate) const MAX_LANES: usize = 14;
/// The most marks in a lane; the newest are drawn.
pub(crate) const MAX_MARKS: usize = 200;
/// A day, in seconds.
const DAY: i64 = 86_400;
/// How wide a picture is, in its own units.
const WIDTH: f64 = 720.0;
/// Where lanes begin, right of their names.
const LEFT: f64 = 190.0;
/// How high a lane is.
const LANE: f64 = 22.0;
/// Room above the lanes.
const TOP: f64 = 8.0;
/// Room for the days below them.
const AXIS: f64 = 24.0;
/// The narrowest mark, so that a moment can still be hit.
const NARROWEST: f64 = 4.0;
/// How many letters of a lane's name fit.
const NAME: usize = 26;

/// What a lane is about, which is its colour and form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a tenant did.
    Violation,
    /// What was done about it.
    Measure,
}

/// Something that went on for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Since when, in seconds of Unix time.
    pub from: i64,
    /// Until when; `None` where it goes on.
    pub to: Option<i64>,
    /// What it is, in words.
    pub label: String,
    /// Where more is said; a path of ours.
    pub href: String,
}

/// What belongs together, in a row of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// What is in it.
    pub marks: Vec<Mark>,
}

/// What happened in a span of days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// What it is called.
    pub title: String,
    /// What it shows, for who does not see it.
    pub description: String,
    /// Its first moment, in seconds of Unix time.
    pub from: i64,
    /// Its last.
    pub to: i64,
    /// The lanes, from above.
    pub lanes: Vec<Lane>,
}

/// A column of a picture by months.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its month.
    pub label: String,
    /// What is said of it, with the numbers.
    pub told: String,
    /// What came in.
    pub inward: u64,
    /// What went out.
    pub outward: u64,
}

/// Text that stands in an element or between double quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no place for these, however they are written.
            control if control.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            other => safe.push(other),
        }
    }
    safe
}

/// As much of a name as fits.
fn clipped(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

impl Timeline {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.marks.is_empty())
    }

    /// The picture, an element.
    pub fn svg(&self) -> String {
        let lanes = &self.lanes[..self.lanes.len().min(MAX_LANES)];
        let bottom = TOP + LANE * lanes.len() as f64;
        let mut svg = begin("timeline", &self.title, &self.description, bottom + AXIS);
        self.days(&mut svg, bottom);
        for (number, lane) in lanes.iter().enumerate() {
            self.lane(&mut svg, lane, TOP + LANE * number as f64);
        }
        svg.push_str("</svg>");
        svg
    }

    /// Where a moment stands; those before and after at the edges.
    fn x(&self, at: i64) -> f64 {
        let span = (self.to.saturating_sub(self.from)).max(1) as f64;
        let share = at.saturating_sub(self.from) as f64 / span;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT)
    }

    fn lane(&self, svg: &mut String, lane: &Lane, top: f64) {
        let middle = top + LANE / 2.0;
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\" stroke=\"currentColor\" stroke-opacity=\"0.15\"/>\
             <text x=\"0\" y=\"{base}\" font-size=\"12\" fill=\"currentColor\">{name}<title>{whole}</title></text>",
            y = top + LANE,
            base = middle + 4.0,
            name = escaped(&clipped(&lane.name)),
            whole = escaped(&lane.name),
        );
        let newest = lane.marks.len().saturating_sub(MAX_MARKS);
        for mark in &lane.marks[newest..] {
            let (from, to) = (self.x(mark.from), self.x(mark.to.unwrap_or(self.to)));
            let width = (to - from).max(NARROWEST);
            let from = from.min(WIDTH - width);
            // Violations are full, measures are outlined and thick: they differ without colours, too.
            let form = match lane.kind {
                Kind::Violation => "height=\"10\" fill=\"#d9480f\"",
                Kind::Measure => {
                    "height=\"12\" fill=\"#3b82f6\" fill-opacity=\"0.45\" stroke=\"#3b82f6\" stroke-width=\"2\""
                }
            };
            let _ = write!(
                svg,
                "<a href=\"{href}\"><rect x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" rx=\"2\" {form}>\
                 <title>{label}</title></rect></a>",
                href = escaped(&mark.href),
                y = middle - 5.0,
                label = escaped(&mark.label),
            );
        }
    }

    fn days(&self, svg: &mut String, bottom: f64) {
        let days = (self.to - self.from) / DAY;
        // No more than about ten of them are named.
        let step = DAY * (days / 10).max(1);
        let mut at = self.from.div_euclid(DAY) * DAY + DAY;
        while at <= self.to && step > 0 {
            let x = self.x(at);
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"currentColor\" \
                 stroke-opacity=\"0.12\"/><text x=\"{x:.1}\" y=\"{y}\" font-size=\"11\" text-anchor=\"middle\" \
                 fill=\"currentColor\">{day}</text>",
                y = bottom + 16.0,
                day = day(at),
            );
            at += step;
        }
    }
}

/// A day of the year as `11-23`, in UTC.
fn day(at: i64) -> String {
    jiff::Timestamp::from_second(at).map(|at| at.strftime("%m-%d").to_string()).unwrap_or_default()
}

fn begin(class: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        "<svg class=\"chart {class}\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"group\" \
         aria-labelledby=\"{class}-title {class}-desc\" xmlns=\"http://www.w3.org/2000/svg\">\
         <title id=\"{class}-title\">{}</title><desc id=\"{class}-desc\">{}</desc>",
        escaped(title),
        escaped(description),
    )
}

/// What came in and went out by months, two bars each: what came in hollow, what went out full. `limit` is what the plan includes, 0 for no limit.
pub(crate) fn months(title: &str, description: &str, columns: &[Column], limit: u64) -> String {
    const HEIGHT: f64 = 140.0;
    let bottom = HEIGHT - AXIS;
    let most = columns.iter().map(|one| one.inward.max(one.outward)).max().unwrap_or(0).max(limit).max(1);
    let tall = |bytes: u64| (bytes as f64 / most as f64) * (bottom - TOP);
    let mut svg = begin("months", title, description, HEIGHT);
    let width = WIDTH / columns.len().max(1) as f64;
    for (number, column) in columns.iter().enumerate() {
        let left = width * number as f64;
        let bar = (width / 4.0).min(40.0);
        let (inward, outward) = (tall(column.inward), tall(column.outward));
        let _ = write!(
            svg,
            "<g><title>{told}</title>\
             <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{bar:.1}\" height=\"{inward:.1}\" fill=\"#3b82f6\" fill-opacity=\"0.25\" \
             stroke=\"#3b82f6\" stroke-width=\"2\"/>\
             <rect x=\"{x2:.1}\" y=\"{y2:.1}\" width=\"{bar:.1}\" height=\"{outward:.1}\" fill=\"#3b82f6\"/>\
             <text x=\"{middle:.1}\" y=\"{base}\" font-size=\"11\" text-anchor=\"middle\" fill=\"currentColor\">{label}</text></g>",
            told = escaped(&column.told),
            x = left + width / 2.0 - bar - 2.0,
            y = bottom - inward,
            x2 = left + width / 2.0 + 2.0,
            y2 = bottom - outward,
            middle = left + width / 2.0,
            base = bottom + 16.0,
            label = escaped(&column.label),
        );
    }
    let _ = write!(
        svg,
        "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"currentColor\" stroke-opacity=\"0.4\"/></svg>"
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</title><script>alert(1)</script>\" onload='x' & \u{0}\u{1b}[2J";

    fn mark(from: i64, to: Option<i64>) -> Mark {
        Mark { from, to, label: "a scan".into(), href: "/violations/V1".into() }
    }

    fn timeline(lanes: Vec<Lane>) -> Timeline {
        Timeline { title: "What happened".into(), description: "By day".into(), from: 0, to: 30 * DAY, lanes }
    }

    fn lane(name: &str, kind: Kind, marks: Vec<Mark>) -> Lane {
        Lane { name: name.into(), kind, marks }
    }

    /// Whether each element that begins ends again, in order, and no letter is left that would begin another one.
    fn is_sound(svg: &str) -> bool {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let Some((tag, text)) = part.split_once('>') else { return false };
            if text.contains('>') || tag.matches('"').count() % 2 != 0 {
                return false;
            }
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            if tag.starts_with('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        open.is_empty()
    }

    #[test]
    fn what_strangers_wrote_stays_text() {
        let hostile = Mark { label: HOSTILE.into(), href: HOSTILE.into(), ..mark(DAY, None) };
        let mut told = timeline(vec![lane(HOSTILE, Kind::Violation, vec![hostile])]);
        told.title = HOSTILE.into();
        told.description = HOSTILE.into();
        let column = Column { label: HOSTILE.into(), told: HOSTILE.into(), inward: 1, outward: 2 };
        for svg in [told.svg(), months(HOSTILE, HOSTILE, &[column], 0)] {
            assert!(is_sound(&svg), "{svg}");
            assert!(!svg.contains("<script"), "{svg}");
            assert!(!svg.contains("' "), "{svg}");
            assert!(!svg.chars().any(char::is_control), "{svg}");
            assert!(svg.contains("&lt;script&gt;"), "{svg}");
        }
    }

    #[test]
    fn marks_stand_inside_of_the_picture_wherever_they_are_in_time() {
        let far =
            [mark(i64::MIN, Some(i64::MAX)), mark(-5, Some(-1)), mark(i64::MAX, None), mark(9, Some(3))];
        let told = timeline(vec![lane("x", Kind::Measure, far.to_vec())]);
        for rect in told.svg().split("<rect ").skip(1) {
            let number = |key: &str| -> f64 {
                let rest = rect.split(&format!("{key}=\"")).nth(1).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            };
            let (x, width) = (number("x"), number("width"));
            assert!(x >= LEFT - 0.1 && x + width <= WIDTH + 0.1 && width >= NARROWEST, "{rect}");
        }
    }

    #[test]
    fn a_picture_has_a_bound_whatever_happened() {
        let many: Vec<Mark> = (0..100_000).map(|at| mark(at, None)).collect();
        let lanes = (0..100).map(|number| lane(&format!("{number}"), Kind::Violation, many.clone()));
        let told = timeline(lanes.collect());
        assert_eq!(told.svg().matches("<rect").count(), MAX_LANES * MAX_MARKS);
        let endless = Timeline { from: 0, to: 100_000 * DAY, ..timeline(Vec::new()) };
        assert!(endless.svg().len() < 10_000);
        let none = Timeline { from: 5, to: 5, ..timeline(Vec::new()) };
        assert!(none.is_empty() && is_sound(&none.svg()));
    }

    #[test]
    fn it_says_what_it_is_to_who_does_not_see_it() {
        let svg = timeline(vec![lane("portscan", Kind::Violation, vec![mark(DAY, Some(2 * DAY))])]).svg();
        assert!(svg.contains("role=\"group\" aria-labelledby=\"timeline-title timeline-desc\""));
        assert!(svg.contains("<title id=\"timeline-title\">What happened</title>"));
        assert!(svg.contains("<a href=\"/violations/V1\">"));
        assert!(!svg.contains("style="), "styles in elements are not let in by the policy of contents");
    }
}
