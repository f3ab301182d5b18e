//! The protocol files themselves: whether they keep to the rules that their readers in other languages rely on (those of buf's categories
//! STANDARD and COMMENTS), and whether what was promised once still holds.
//!
//! `wire.txt` lists every field, value and call that there ever was. One that is gone must be reserved, and none may change: agents
//! of older versions are in the field, and so are other people's programs. What is new is written down with `REEVE_UPDATE_DOCS=1`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire.txt");

/// All files below `proto/`.
fn files() -> Vec<FileDescriptorProto> {
    let mut names = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    names.sort();
    let mut compiler = protox::Compiler::new([ROOT]).unwrap();
    compiler.include_source_info(true).include_imports(false);
    compiler.open_files(&names).unwrap();
    compiler.file_descriptor_set().file
}

/// What is wrong with a file, a line each.
#[derive(Default)]
struct Lint {
    file: String,
    found: Vec<String>,
    /// Places that have a comment.
    told: BTreeSet<Vec<i32>>,
}

impl Lint {
    fn check(&mut self, is_good: bool, what: &str, rule: &str) {
        if !is_good {
            self.found.push(format!("{}: {what}: {rule}", self.file));
        }
    }

    fn comment(&mut self, path: &[i32], what: &str) {
        let is_told = self.told.contains(path);
        self.check(is_told, what, "has no comment above it");
    }

    fn file(file: &FileDescriptorProto) -> Vec<String> {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let told = locations
            .filter(|place| !place.leading_comments().trim().is_empty())
            .map(|place| place.path.clone())
            .collect();
        let mut lint = Self { file: file.name().to_owned(), told, ..Self::default() };
        let parts: Vec<&str> = file.package().split('.').collect();
        let version = parts.last().and_then(|last| last.strip_prefix('v'));
        lint.check(
            version.is_some_and(|digits| digits.parse::<u32>().is_ok()),
            file.package(),
            "ends in no version such as `v1`",
        );
        lint.check(parts.iter().all(|part| is_lower_snake(part)), file.package(), "is not lower_snake");
        let (folder, name) = file.name().rsplit_once('/').unwrap_or(("", file.name()));
        lint.check(folder == parts.join("/"), file.package(), "is not the folder that the file is in");
        lint.check(is_lower_snake(name.trim_end_matches(".proto")), name, "is not lower_snake");
        lint.check(file.syntax() == "proto3", name, "is not proto3");
        lint.check(
            file.public_dependency.is_empty() && file.weak_dependency.is_empty(),
            name,
            "imports publicly or weakly",
        );
        for (index, message) in (0..).zip(&file.message_type) {
            lint.message(message, &[4, index]);
        }
        for (index, one) in (0..).zip(&file.enum_type) {
            lint.enumeration(one, &[5, index]);
        }
        for (index, service) in (0..).zip(&file.service) {
            let name = service.name();
            lint.comment(&[6, index], name);
            lint.check(name.ends_with("Service") && is_pascal(name), name, "does not end in `Service`");
            for (number, method) in (0..).zip(&service.method) {
                let (call, what) = (method.name(), format!("{name}.{}", method.name()));
                lint.comment(&[6, index, 2, number], &what);
                lint.check(is_pascal(call), &what, "is not PascalCase");
                for (kind, message) in [("Request", method.input_type()), ("Response", method.output_type())]
                {
                    let expect = format!(".{}.{call}{kind}", file.package());
                    lint.check(message == expect, &what, &format!("has {message} and not {expect}"));
                }
            }
        }
        lint.found
    }

    fn message(&mut self, message: &DescriptorProto, path: &[i32]) {
        let name = message.name();
        if message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry) {
            return;
        }
        self.comment(path, name);
        self.check(is_pascal(name), name, "is not PascalCase");
        for (index, field) in (0..).zip(&message.field) {
            let what = format!("{name}.{}", field.name());
            self.comment(&[path, &[2, index]].concat(), &what);
            self.check(is_lower_snake(field.name()), &what, "is not lower_snake");
        }
        for oneof in &message.oneof_decl {
            let what = format!("{name}.{}", oneof.name());
            let is_made_up = oneof.name().starts_with('_');
            self.check(is_made_up || is_lower_snake(oneof.name()), &what, "is not lower_snake");
        }
        for (index, inner) in (0..).zip(&message.nested_type) {
            self.message(inner, &[path, &[3, index]].concat());
        }
        for (index, inner) in (0..).zip(&message.enum_type) {
            self.enumeration(inner, &[path, &[4, index]].concat());
        }
    }

    fn enumeration(&mut self, one: &EnumDescriptorProto, path: &[i32]) {
        let name = one.name();
        self.comment(path, name);
        self.check(is_pascal(name), name, "is not PascalCase");
        let prefix = format!("{}_", upper_snake(name));
        for (index, value) in (0..).zip(&one.value) {
            let what = format!("{name}.{}", value.name());
            self.comment(&[path, &[2, index]].concat(), &what);
            self.check(value.name().starts_with(&prefix), &what, &format!("does not begin with {prefix}"));
            self.check(value.name() == value.name().to_uppercase(), &what, "is not UPPER_SNAKE");
        }
        let zero = one.value.iter().find(|value| value.number() == 0).map(|value| value.name());
        self.check(
            zero == Some(&format!("{prefix}UNSPECIFIED")),
            name,
            "has a zero that is not `_UNSPECIFIED`",
        );
    }
}

fn is_lower_snake(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.chars().all(is_good) && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.contains("__")
}

fn is_pascal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn upper_snake(text: &str) -> String {
    let mut out = String::new();
    for (index, letter) in text.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

/// What is promised, by what it is called: a field, a value, a call.
type Promises = BTreeMap<String, String>;

fn promises(files: &[FileDescriptorProto]) -> Promises {
    let mut all = Promises::new();
    for file in files {
        for message in &file.message_type {
            promised_of_message(&mut all, file.package(), message);
        }
        for one in &file.enum_type {
            promised_of_enum(&mut all, file.package(), one);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |is_one: bool| if is_one { "stream " } else { "" };
                all.insert(
                    format!("call {}.{}/{}", file.package(), service.name(), method.name()),
                    format!(
                        "{}{} -> {}{}",
                        stream(method.client_streaming()),
                        method.input_type(),
                        stream(method.server_streaming()),
                        method.output_type()
                    ),
                );
            }
        }
    }
    all
}

fn promised_of_message(all: &mut Promises, outer: &str, message: &DescriptorProto) {
    let full = format!("{outer}.{}", message.name());
    for field in &message.field {
        let oneof =
            field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).unwrap()));
        let oneof = oneof.map(|oneof| format!(" in {}", oneof.name())).unwrap_or_default();
        all.insert(
            format!("field {full} {}", field.number()),
            format!("{} {}{oneof}", field.name(), type_of(field)),
        );
    }
    for range in &message.reserved_range {
        for number in range.start()..range.end() {
            all.insert(format!("field {full} {number}"), "reserved".to_owned());
        }
    }
    message.nested_type.iter().for_each(|inner| promised_of_message(all, &full, inner));
    message.enum_type.iter().for_each(|inner| promised_of_enum(all, &full, inner));
}

fn promised_of_enum(all: &mut Promises, outer: &str, one: &EnumDescriptorProto) {
    for value in &one.value {
        all.insert(format!("value {outer}.{} {}", one.name(), value.number()), value.name().to_owned());
    }
    for range in &one.reserved_range {
        for number in range.start()..=range.end() {
            all.insert(format!("value {outer}.{} {number}", one.name()), "reserved".to_owned());
        }
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let many = if field.label() == Label::Repeated { "repeated " } else { "" };
    let name = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        other => other.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("{many}{name}")
}

/// What of `before` does not hold any more, a line each.
fn broken(before: &Promises, now: &Promises) -> Vec<String> {
    let mut all = Vec::new();
    for (what, was) in before {
        match now.get(what) {
            Some(is) if is == was => {}
            Some(is) if is == "reserved" => {}
            Some(is) => {
                all.push(format!("{what} was `{was}` and is `{is}`: give the new one another number"))
            }
            None => all.push(format!("{what} was `{was}` and is gone: reserve its number")),
        }
    }
    all
}

fn written(promises: &Promises) -> String {
    promises.iter().map(|(what, is)| format!("{what} = {is}\n")).collect()
}

#[test]
fn the_files_keep_to_the_rules() {
    let found: Vec<String> = files().iter().flat_map(Lint::file).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_was_promised_holds() {
    let text = std::fs::read_to_string(WIRE).unwrap_or_default();
    let before: Promises = text
        .lines()
        .map(|line| line.split_once(" = ").unwrap())
        .map(|(what, is)| (what.to_owned(), is.to_owned()))
        .collect();
    let now = promises(&files());
    let broken = broken(&before, &now);
    assert!(broken.is_empty(), "older agents and programs would break:\n{}", broken.join("\n"));
    if std::env::var_os("REEVE_UPDATE_DOCS").is_some() {
        std::fs::write(WIRE, written(&now)).unwrap();
    } else {
        assert!(
            written(&now) == text,
            "the protocol grew: write it down with REEVE_UPDATE_DOCS=1 cargo test -p reeve-proto --test files"
        );
    }
}

/// A file's descriptors, from its text.
fn parsed(name: &str, text: &str) -> FileDescriptorProto {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let mut compiler = protox::Compiler::new([folder.path()]).unwrap();
    let set: FileDescriptorSet = compiler
        .include_source_info(true)
        .include_imports(false)
        .open_files([name])
        .unwrap()
        .file_descriptor_set();
    set.file.into_iter().next().unwrap()
}

#[test]
fn each_rule_can_be_broken() {
    let bad = "syntax = \"proto3\";\npackage a.b;\nservice Bad { rpc do(one) returns (one); }\n\
               message one { int32 Two = 1; }\nenum Three { FOUR = 0; }\n";
    let told = Lint::file(&parsed("a/Bad.proto", bad)).join("\n");
    for expect in [
        "a.b: ends in no version",
        "a.b: is not the folder",
        "Bad.proto: is not lower_snake",
        "Bad: has no comment",
        "Bad: does not end in `Service`",
        "Bad.do: is not PascalCase",
        "Bad.do: has .a.b.one and not .a.b.doRequest",
        "Bad.do: has .a.b.one and not .a.b.doResponse",
        "one: is not PascalCase",
        "one.Two: has no comment",
        "one.Two: is not lower_snake",
        "Three.FOUR: does not begin with THREE_",
        "Three: has a zero that is not `_UNSPECIFIED`",
    ] {
        assert!(told.contains(expect), "{expect} is not told:\n{told}");
    }
    let of = |body: &str| {
        let text = format!("syntax = \"proto3\";\npackage a.v1;\n{body}");
        promises(&[parsed("a/v1/x.proto", &text)])
    };
    let before = of("message M { int32 a = 1; string b = 2; } enum E { Z = 0; Y = 1; }");
    let told = |body: &str| broken(&before, &of(body));
    assert!(
        told("message M { int32 a = 1; string b = 2; bool c = 3; } enum E { Z = 0; Y = 1; X = 2; }")
            .is_empty()
    );
    assert!(told("message M { reserved 1; string b = 2; } enum E { Z = 0; reserved 1; }").is_empty());
    for worse in [
        "message M { int32 a = 1; } enum E { Z = 0; Y = 1; }",
        "message M { int64 a = 1; string b = 2; } enum E { Z = 0; Y = 1; }",
        "message M { int32 a = 1; repeated string b = 2; } enum E { Z = 0; Y = 1; }",
        "message M { int32 a = 1; string bb = 2; } enum E { Z = 0; Y = 1; }",
        "message M { int32 a = 1; string b = 2; } enum E { Z = 0; }",
    ] {
        assert_eq!(told(worse).len(), 1, "{worse}");
    }
}
