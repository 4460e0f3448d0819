//! Finds marked objects in JSON text and puts others in their place; all else stays byte for byte. Payloads are sealed on
//! each write and opened on each read, so they are not taken apart into values for it.

/// Deepest nesting that is looked into; events have a handful.
const DEPTH_MAX: usize = 64;

/// Not JSON, or deeper than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Replaces every object whose first key is `mark` by what `replace` answers for its path (a JSON pointer whose keys are not
/// escaped) and the text of that key's value.
pub(super) fn replace<E: From<Malformed>>(
    text: &str,
    mark: &str,
    replace: &mut impl FnMut(&str, &str) -> Result<String, E>,
) -> Result<String, E> {
    let mut scan =
        Scan { text, at: 0, mark, out: String::with_capacity(text.len()), copied: 0, path: String::new(), inside: false, replace };
    scan.value(0)?;
    scan.out.push_str(&text[scan.copied..]);
    Ok(scan.out)
}

struct Scan<'t, R> {
    text: &'t str,
    at: usize,
    mark: &'t str,
    out: String,
    /// Up to here `out` has the text.
    copied: usize,
    path: String,
    /// Within a marked object nothing is looked for.
    inside: bool,
    replace: &'t mut R,
}

impl<'t, E: From<Malformed>, R: FnMut(&str, &str) -> Result<String, E>> Scan<'t, R> {
    fn value(&mut self, depth: usize) -> Result<(), E> {
        if depth > DEPTH_MAX {
            return Err(Malformed.into());
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(|_| ()),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), E> {
        let (start, path) = (self.at, self.path.len());
        let mut found = None;
        let mut is_first = true;
        self.at += 1;
        while !self.ends(b'}')? {
            let key = self.string()?;
            self.take(b':')?;
            self.peek()?;
            let begins = self.at;
            if !self.inside && (found.is_some() || (is_first && key == self.mark)) {
                self.inside = true;
                self.value(depth + 1)?;
                self.inside = false;
                found.get_or_insert(begins..self.at);
            } else {
                self.path.push('/');
                self.path.push_str(key);
                self.value(depth + 1)?;
                self.path.truncate(path);
            }
            is_first = false;
        }
        if let Some(value) = found {
            let instead = (self.replace)(&self.path, &self.text[value])?;
            self.out.push_str(&self.text[self.copied..start]);
            self.out.push_str(&instead);
            self.copied = self.at;
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), E> {
        let path = self.path.len();
        self.at += 1;
        for index in 0.. {
            if self.ends(b']')? {
                break;
            }
            self.path.push('/');
            self.path.push_str(&index.to_string());
            self.value(depth + 1)?;
            self.path.truncate(path);
        }
        Ok(())
    }

    /// A string's content, as it is written.
    fn string(&mut self) -> Result<&'t str, E> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let ahead = self.text.as_bytes()[self.at..].iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Malformed)?;
            self.at += ahead;
            if self.text.as_bytes()[self.at] == b'"' {
                break;
            }
            self.at = (self.at + 2).min(self.text.len());
        }
        self.at += 1;
        let text = self.text;
        Ok(&text[start..self.at - 1])
    }

    fn scalar(&mut self) -> Result<(), E> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')).count();
        self.at += length;
        if length == 0 { Err(Malformed.into()) } else { Ok(()) }
    }

    /// Whether the object or array ends here; else stands at its next member.
    fn ends(&mut self, with: u8) -> Result<bool, E> {
        let mut next = self.peek()?;
        if next == b',' {
            self.at += 1;
            next = self.peek()?;
        }
        if next == with {
            self.at += 1;
        }
        Ok(next == with)
    }

    fn take(&mut self, wanted: u8) -> Result<(), E> {
        if self.peek()? != wanted {
            return Err(Malformed.into());
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, E> {
        let rest = &self.text.as_bytes()[self.at..];
        let white = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += white;
        rest.get(white).copied().ok_or_else(|| Malformed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<(String, Vec<String>), Malformed> {
        let mut found = Vec::new();
        let replaced = replace::<Malformed>(text, "$personal", &mut |path, value| {
            found.push(format!("{path}={value}"));
            Ok("0".to_owned())
        })?;
        Ok((replaced, found))
    }

    #[test]
    fn a_marked_object_is_replaced_and_the_rest_stays_as_it_is() {
        let text = r#"{"a":[1,{"$personal":{"x":["}",2]}}], "b" : {"c":{"$personal":"q\"}\\"}},"d":-1.5e+3,"e":[],"f":{},"g":[null,true]}"#;
        let (replaced, found) = found(text).unwrap();
        assert_eq!(found, [r#"/a/1={"x":["}",2]}"#, r#"/b/c="q\"}\\""#]);
        assert_eq!(replaced, r#"{"a":[1,0], "b" : {"c":0},"d":-1.5e+3,"e":[],"f":{},"g":[null,true]}"#);
    }

    #[test]
    fn within_a_marked_object_nothing_is_marked() {
        assert_eq!(found(r#"{"$personal":{"$personal":"x"}}"#).unwrap(), ("0".to_owned(), vec![r#"={"$personal":"x"}"#.to_owned()]));
        assert_eq!(found(r#"{"name":"\"$personal\":1","x":{"y":1,"$personal":2}}"#).unwrap().1, [""; 0]);
    }

    #[test]
    fn what_is_no_json_is_said() {
        for text in ["", "{", "{\"a\"", "{\"a\":", "[1,", "{\"$personal\":\"a", "\"\\", "{a:1}"] {
            assert_eq!(found(text), Err(Malformed), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 2), "]".repeat(DEPTH_MAX + 2));
        assert_eq!(found(&deep), Err(Malformed));
    }
}
