//! Whether what is posted has the form of a login: by the names of its fields, never by what stands in them.
//!
//! Read byte by byte, so that it does not matter how it is cut: forms as browsers send them (WHATWG URL, section 5; RFC 7578), JSON, and
//! the names of XML's elements, which is what XML-RPC and SOAP are made of. A post to a page with "token" in its path may as well be a
//! notice that somebody asked for, and whoever asked for it may refuse it as often as he likes.

/// As much of a name as tells it from others.
const NAME_MAX: usize = 24;
/// A login has few fields, and what has many is a record of something. Browsers' forms have hidden ones besides.
const JSON_FIELDS: u8 = 8;
const FORM_FIELDS: u8 = 16;
/// Without somebody's name a password comes almost alone: that of a device.
const ALONE: u8 = 3;

/// What secrets are called, as a part of the name, as its end and as the whole.
const SECRETS: [&[u8]; 9] = [
    b"passw",
    b"passphrase",
    b"passcode",
    b"passkey",
    b"pwd",
    b"pswd",
    b"secret",
    b"kennwort",
    b"wachtwoord",
];
const SECRETS_WHOLE: [&[u8]; 6] = [b"p", b"pw", b"psw", b"pin", b"pass", b"otp"];
const NO_SECRETS: [&[u8]; 3] = [b"compass", b"bypass", b"trespass"];
/// What people are called.
const PEOPLE: [&[u8]; 8] = [b"user", b"login", b"mail", b"name", b"account", b"client", b"phone", b"identi"];
const PEOPLE_WHOLE: [&[u8]; 5] = [b"u", b"id", b"uid", b"log", b"usr"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    Fields,
    Json,
    Parts,
    Xml,
}

/// What is known of a body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    kind: Kind,
    name: [u8; NAME_MAX],
    len: u8,
    /// Whether a name is being read, and in JSON a string.
    is_in_name: bool,
    is_escaped: bool,
    /// JSON: whether a string is over that is a name if a colon follows.
    is_over: bool,
    before: u8,
    fields: u8,
    has_secret: bool,
    has_person: bool,
    is_call: bool,
}

impl Form {
    /// Takes the next byte.
    pub fn add(&mut self, byte: u8) {
        if self.kind == Kind::Unknown {
            self.kind = match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => return,
                b'{' | b'[' => Kind::Json,
                b'-' => Kind::Parts,
                b'<' => Kind::Xml,
                _ => Kind::Fields,
            };
            self.is_in_name = self.kind == Kind::Fields;
        }
        match self.kind {
            Kind::Unknown => {}
            Kind::Fields => match byte {
                b'=' if self.is_in_name => self.named(),
                b'&' => self.begin(),
                _ => self.push(byte),
            },
            Kind::Json => self.json(byte),
            // `name="..."`.
            Kind::Parts => match byte {
                b'"' if self.is_in_name => self.named(),
                b'"' if self.before == b'=' => self.begin(),
                _ => self.push(byte),
            },
            Kind::Xml => match byte {
                b'<' | b':' => self.begin(),
                b'>' | b' ' | b'/' | b'\r' | b'\n' if self.is_in_name => self.named(),
                _ => self.push(byte),
            },
        }
        self.before = byte;
    }

    /// Whether it is a login.
    pub fn is_login(&self) -> bool {
        let most = match self.kind {
            Kind::Json if !self.has_person => ALONE,
            Kind::Json => JSON_FIELDS,
            Kind::Unknown => 0,
            Kind::Fields | Kind::Parts => FORM_FIELDS,
            Kind::Xml => u8::MAX,
        };
        self.fields <= most && (self.has_secret || self.is_call)
    }

    fn json(&mut self, byte: u8) {
        if self.is_in_name {
            match byte {
                _ if std::mem::take(&mut self.is_escaped) => self.push(byte),
                b'\\' => self.is_escaped = true,
                b'"' => (self.is_in_name, self.is_over) = (false, true),
                _ => self.push(byte),
            }
        } else {
            match byte {
                b'"' => self.begin(),
                b':' if std::mem::take(&mut self.is_over) => self.named(),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => self.is_over = false,
            }
        }
    }

    fn begin(&mut self) {
        (self.len, self.is_in_name, self.is_over) = (0, true, false);
    }

    fn push(&mut self, byte: u8) {
        if self.is_in_name
            && let Some(place) = self.name.get_mut(usize::from(self.len))
        {
            *place = byte.to_ascii_lowercase();
            self.len += 1;
        }
    }

    /// A name is whole.
    fn named(&mut self) {
        let name = &self.name[..usize::from(self.len)];
        let has =
            |words: &[&[u8]]| words.iter().any(|word| name.windows(word.len()).any(|part| part == *word));
        let is_end = name.ends_with(b"pass") && !NO_SECRETS.iter().any(|word| name.ends_with(word));
        self.has_secret |= has(&SECRETS) || SECRETS_WHOLE.contains(&name) || is_end;
        self.has_person |= has(&PEOPLE) || PEOPLE_WHOLE.contains(&name);
        self.is_call |= self.kind == Kind::Xml && name == b"methodcall";
        self.fields = self.fields.saturating_add(1);
        (self.name, self.len, self.is_in_name) = ([0; NAME_MAX], 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> bool {
        let mut form = Form::default();
        body.bytes().for_each(|byte| form.add(byte));
        form.is_login()
    }

    #[test]
    fn logins_are_told_from_notices() {
        for body in [
            "u=a&p=b",
            "log=admin&pwd=x&wp-submit=Log+In",
            "csrf=1&user_pass=a%26b",
            "grant_type=password&username=a&password=b",
            "{\"username\":\"a\",\"password\":\"b\"}",
            " { \"email\" : \"a\\\"b\" , \"passwd\" : \"x\", \"remember\": true }",
            "{\"password\":\"b\"}",
            "{\"jsonrpc\":\"2.0\",\"method\":\"user.login\",\"params\":{\"user\":\"a\",\"password\":\"b\"},\"id\":1}",
            "<?xml version=\"1.0\"?><methodCall><methodName>wp.getUsersBlogs</methodName>",
            "<s:Envelope><s:Body><m:Password>x</m:Password>",
            "--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nb\r\n--x--",
        ] {
            assert!(check(body), "{body}");
        }
        for body in [
            "",
            "{\"event\":\"order\",\"id\":7}",
            "{\"event\":\"order\",\"note\":\"password\"}",
            "{\"event\":\"x\",\"passed\":true,\"compass\":1}",
            "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"user\":1,\"e\":1,\"f\":1,\"g\":1,\"password\":1}",
            "{\"a\":1,\"b\":1,\"c\":1,\"password\":1}",
            "id=7&note=password=x",
            "refresh_token=abc&grant_type=refresh_token",
            "<order><id>7</id></order>",
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\npassword",
            "{\"password",
        ] {
            assert!(!check(body), "{body}");
        }
    }
}
