//! The three little languages inside strings: whole-number expressions, conditions over flags, and `each` ranges.
//! Errors are plain words; who reads the value adds the place.

/// Deepest nesting of parentheses and signs.
const MAX_DEPTH: usize = 64;
/// Most repetitions of one `each`.
pub(super) const MAX_REPEAT: i64 = 1_000_000;

/// Looks up what a name stands for.
pub(super) trait Names {
    /// The number of that name, or why there is none.
    fn number(&self, name: &str) -> Result<i64, String>;
    /// The flag of that name, or why there is none.
    fn flag(&self, name: &str) -> Result<bool, String>;
}

/// Evaluates `+ - * / %` over whole numbers, names and parentheses.
pub(super) fn number(text: &str, names: &dyn Names) -> Result<i64, String> {
    let mut parser = Parser { text, rest: text, names, depth: 0 };
    let value = parser.sum()?;
    parser.end()?;
    Ok(value)
}

/// Evaluates `! && ||` over flags and parentheses.
pub(super) fn condition(text: &str, names: &dyn Names) -> Result<bool, String> {
    let mut parser = Parser { text, rest: text, names, depth: 0 };
    let value = parser.any()?;
    parser.end()?;
    Ok(value)
}

/// Reads `i in 1..N` (half-open) or `i in 1..=N`: the variable and its first and last value.
pub(super) fn each(text: &str, names: &dyn Names) -> Result<(String, i64, i64), String> {
    let form = || format!("\"{text}\" is no range");
    let (variable, range) = text.split_once(" in ").ok_or_else(form)?;
    let variable = variable.trim();
    if !is_name(variable) {
        return Err(form());
    }
    let (first, last) = range.split_once("..").ok_or_else(form)?;
    let first = number(first, names)?;
    let last = match last.strip_prefix('=') {
        Some(last) => Some(number(last, names)?),
        None => number(last, names)?.checked_sub(1),
    };
    let last = last.ok_or_else(|| overflow(text))?;
    match last.checked_sub(first) {
        Some(-1) => Err(format!("the range of \"{text}\" is empty: it begins at {first} and ends at {last}")),
        Some(length) if length < 0 => Err(format!("the range of \"{text}\" is reversed: it begins at {first} and ends at {last}")),
        Some(length) if length < MAX_REPEAT => Ok((variable.to_owned(), first, last)),
        _ => Err(format!("the range of \"{text}\" is longer than {MAX_REPEAT}")),
    }
}

/// Whether it is a letter or `_`, then letters, digits and `_`.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn overflow(text: &str) -> String {
    format!("\"{text}\" overflows a 64-bit number")
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    names: &'a dyn Names,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<i64, String> {
        let mut left = self.product()?;
        loop {
            let next = if self.take("+") {
                left.checked_add(self.product()?)
            } else if self.take("-") {
                left.checked_sub(self.product()?)
            } else {
                return Ok(left);
            };
            left = next.ok_or_else(|| overflow(self.text))?;
        }
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut left = self.factor()?;
        loop {
            let operator = if self.take("*") {
                i64::checked_mul
            } else if self.take("/") {
                i64::checked_div
            } else if self.take("%") {
                i64::checked_rem
            } else {
                return Ok(left);
            };
            let right = self.factor()?;
            left = operator(left, right)
                .ok_or_else(|| if right == 0 { format!("\"{}\" divides by 0", self.text) } else { overflow(self.text) })?;
        }
    }

    fn factor(&mut self) -> Result<i64, String> {
        if self.take("-") {
            let value = self.nested(Self::factor)?;
            return value.checked_neg().ok_or_else(|| overflow(self.text));
        }
        if self.take("(") {
            let value = self.nested(Self::sum)?;
            return self.expect(")").map(|()| value);
        }
        let digits = self.word(|c| c.is_ascii_digit());
        if !digits.is_empty() {
            return digits.parse().map_err(|_| overflow(self.text));
        }
        let name = self.name()?;
        self.names.number(name)
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.take("||") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.negation()?;
        while self.take("&&") {
            value &= self.negation()?;
        }
        Ok(value)
    }

    fn negation(&mut self) -> Result<bool, String> {
        if self.take("!") {
            return self.nested(Self::negation).map(|value| !value);
        }
        if self.take("(") {
            let value = self.nested(Self::any)?;
            return self.expect(")").map(|()| value);
        }
        let name = self.name()?;
        self.names.flag(name)
    }

    fn nested<T>(&mut self, inner: fn(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels of nesting"));
        }
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(self.stuck(&format!("\"{token}\""))) }
    }

    fn word(&mut self, part: fn(char) -> bool) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let before = self.rest;
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name(name) {
            return Ok(name);
        }
        self.rest = before;
        Err(self.stuck("a name or a number"))
    }

    fn end(&mut self) -> Result<(), String> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() { Ok(()) } else { Err(self.stuck("its end")) }
    }

    fn stuck(&self, expected: &str) -> String {
        let rest = self.rest.trim();
        let found = if rest.is_empty() { "it ends".to_owned() } else { format!("there is \"{rest}\"") };
        format!("in \"{}\" {found} where {expected} was expected", self.text)
    }
}
