//! Tokens shared by every text form: words, numbers, quoted names, punctuation. Positions are lines and
//! columns, so that a parser can say where it stopped.

use std::fmt;

/// Where and why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for ParseError {}

/// Letters, digits and `_`, not starting with a digit: what needs no quotes.
pub fn is_word(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text in double quotes; quotes, backslashes, and everything outside printable ASCII escaped.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// A cursor over a text. White space and `// …` comments to the end of the line are skipped.
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    pub fn error(&self, what: impl Into<String>) -> ParseError {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        ParseError { line, column, what: what.into() }
    }

    /// Nothing but white space and comments is left.
    pub fn done(&mut self) -> bool {
        self.skip();
        self.at == self.text.len()
    }

    /// Whether `token` comes next. A word token is not matched inside a longer word.
    pub fn peek(&mut self, token: &str) -> bool {
        self.skip();
        let rest = &self.text[self.at..];
        let wordy = |c: char| c.is_ascii_alphanumeric() || c == '_';
        rest.starts_with(token) && !(token.ends_with(wordy) && rest[token.len()..].starts_with(wordy))
    }

    /// Takes `token` if it comes next.
    pub fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes `prefix` even in the middle of a word.
    pub fn eat_prefix(&mut self, prefix: &str) -> bool {
        self.skip();
        let found = self.text[self.at..].starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    pub fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// The error that says what was expected here and what stands here instead.
    pub fn expected(&mut self, what: &str) -> ParseError {
        self.skip();
        let found = match self.text[self.at..].split_whitespace().next() {
            Some(word) => format!("`{}`", word.chars().take(20).collect::<String>()),
            None => "the end".into(),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    fn take_while(&mut self, pred: impl Fn(char) -> bool) -> &'a str {
        self.skip();
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !pred(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// The next word if there is one, without taking it.
    pub fn peek_word(&mut self) -> Option<&'a str> {
        let at = self.at;
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        self.at = at;
        (!word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit())).then_some(word)
    }

    pub fn word(&mut self) -> Result<&'a str, ParseError> {
        match self.peek_word() {
            Some(word) => {
                self.skip();
                self.at += word.len();
                Ok(word)
            }
            None => Err(self.expected("a word")),
        }
    }

    /// A number with its sign, point and exponent, or `inf`, `nan` with a sign, as it stands.
    pub fn number(&mut self) -> Result<&'a str, ParseError> {
        self.skip();
        let rest = &self.text[self.at..];
        let sign = usize::from(rest.starts_with(['-', '+']));
        let body = &rest[sign..];
        let len = if body.starts_with("inf") || body.starts_with("nan") {
            3
        } else {
            let bytes = body.as_bytes();
            let mut len = 0;
            while len < bytes.len() {
                let exponent = len > 0 && matches!(bytes[len - 1], b'e' | b'E') && bytes[0].is_ascii_digit();
                let fine = bytes[len].is_ascii_digit()
                    || bytes[len] == b'.'
                    || matches!(bytes[len], b'e' | b'E')
                    || (exponent && matches!(bytes[len], b'-' | b'+'));
                // `1..5` is a range, not a number
                if !fine || (bytes[len] == b'.' && bytes.get(len + 1) == Some(&b'.')) {
                    break;
                }
                len += 1;
            }
            if !bytes.first().is_some_and(u8::is_ascii_digit) {
                return Err(self.expected("a number"));
            }
            len
        };
        self.at += sign + len;
        Ok(&rest[..sign + len])
    }

    /// Whether a number comes next.
    pub fn peek_number(&mut self) -> bool {
        let at = self.at;
        let found = self.number().is_ok();
        self.at = at;
        found
    }

    pub fn integer(&mut self) -> Result<i64, ParseError> {
        let text = self.number()?;
        text.parse().map_err(|_| self.error(format!("`{text}` is not an integer")))
    }

    pub fn natural(&mut self) -> Result<usize, ParseError> {
        let text = self.number()?;
        // sizes are counted in 63 bits everywhere
        let small = text.parse().ok().filter(|&n: &usize| i64::try_from(n).is_ok());
        small.ok_or_else(|| self.error(format!("`{text}` is not a natural number")))
    }

    pub fn hex(&mut self) -> Result<u64, ParseError> {
        let text = self.take_while(|c| c.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).map_err(|_| self.error(format!("`{text}` is not a hexadecimal number")))
    }

    /// `count` bytes of two hexadecimal digits each.
    pub fn hex_bytes(&mut self, count: usize) -> Result<Vec<u8>, ParseError> {
        let text = self.take_while(|c| c.is_ascii_hexdigit());
        if Some(text.len()) != count.checked_mul(2) {
            return Err(self.error(format!("expected {count} bytes in hexadecimal, found {} digits", text.len())));
        }
        let digit = |d: u8| (d as char).to_digit(16).expect("only hexadecimal digits were taken") as u8;
        Ok(text.as_bytes().chunks_exact(2).map(|d| digit(d[0]) << 4 | digit(d[1])).collect())
    }

    /// A name in double quotes, unescaped.
    pub fn string(&mut self) -> Result<String, ParseError> {
        self.expect("\"")?;
        let mut out = String::new();
        let text = self.text;
        let mut chars = text[self.at..].char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'u')) => {
                        let code: String = chars.by_ref().skip(1).map(|(_, c)| c).take_while(|&c| c != '}').collect();
                        let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                        out.push(code.ok_or_else(|| self.error("a bad \\u escape"))?);
                    }
                    Some((_, c)) => out.push(c),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err(self.error("a quoted name that does not end"))
    }
}
