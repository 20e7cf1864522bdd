//! The grammar of an nginx file: words, quotes, comments, blocks. Pure and forgiving: what it is
//! given has passed nginx's own test, so an odd file is this reader's mistake and not the user's.

/// How a comment begins that stands for lines which were left out; their number follows.
pub(in crate::proxy) const LEFT_OUT: &str = "#\u{1}";

/// A directive with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) struct Directive {
    pub name: String,
    pub args: Vec<String>,
    pub line: usize,
    pub block: Option<Vec<Directive>>,
}

/// Reads a file.
pub(in crate::proxy) fn parse(text: &str) -> Vec<Directive> {
    let mut reader = Tokenizer {
        rest: text.chars().peekable(),
        line: 1,
    };
    reader.block()
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Tokenizer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Tokenizer<'_> {
    fn block(&mut self) -> Vec<Directive> {
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = self.line;
        while let Some(token) = self.token() {
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = self.line;
                    }
                    words.push(word);
                }
                Token::Close => break,
                Token::End => directives.extend(directive(&mut words, line, None)),
                Token::Open => {
                    let is_lua = words.first().is_some_and(|w| w.ends_with("_by_lua_block"));
                    let block = if is_lua {
                        self.skip_block();
                        Vec::new()
                    } else {
                        self.block()
                    };
                    directives.extend(directive(&mut words, line, Some(block)));
                }
            }
        }
        directives
    }

    fn token(&mut self) -> Option<Token> {
        loop {
            match self.next()? {
                '#' => self.comment()?,
                ';' => return Some(Token::End),
                '{' => return Some(Token::Open),
                '}' => return Some(Token::Close),
                quote @ ('"' | '\'') => return Some(Token::Word(self.quoted(quote))),
                c if c.is_whitespace() => {}
                c => return Some(Token::Word(self.word(c))),
            }
        }
    }

    /// Steps over a comment.
    fn comment(&mut self) -> Option<()> {
        let mut stands_for = None;
        if self.rest.next_if_eq(&'\u{1}').is_some() {
            let mut number = 0;
            while let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(10)) {
                number = number * 10 + digit as usize;
                self.rest.next();
            }
            stands_for = Some(number);
        }
        while self.next()? != '\n' {}
        // The marker's own line is one of them.
        self.line += stands_for.map_or(0, |lines| lines - 1);
        Some(())
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::new();
        let mut c = first;
        loop {
            if c == '\\' {
                word.push(c);
                c = match self.next() {
                    Some(escaped) => escaped,
                    None => return word,
                };
            }
            word.push(c);
            let in_variable = c == '$';
            match self.rest.peek() {
                Some('{') if in_variable => {}
                Some(';' | '{') | None => return word,
                Some(next) if next.is_whitespace() => return word,
                Some(_) => {}
            }
            c = match self.next() {
                Some(next) => next,
                None => return word,
            };
        }
    }

    fn quoted(&mut self, quote: char) -> String {
        let mut word = String::new();
        while let Some(c) = self.next() {
            match c {
                '\\' => match self.next() {
                    Some(c @ ('"' | '\'' | '\\')) => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                    None => {}
                },
                c if c == quote => break,
                c => word.push(c),
            }
        }
        word
    }

    /// Steps over a block in another language by its braces.
    fn skip_block(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }
}

fn directive(
    words: &mut Vec<String>,
    line: usize,
    block: Option<Vec<Directive>>,
) -> Option<Directive> {
    let mut words = std::mem::take(words).into_iter();
    Some(Directive {
        name: words.next()?,
        args: words.collect(),
        line,
        block,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(directives: &[Directive]) -> String {
        let show = |d: &Directive| {
            let args = d.args.join("|");
            let block = d.block.as_deref().map(shown);
            let block = block.map_or(String::new(), |inner| format!("{{{inner}}}"));
            format!("{}:{}({args}){block}", d.line, d.name)
        };
        directives.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_quotes_comments_and_blocks_are_told_apart() {
        for (text, expected) in [
            ("user nginx;", "1:user(nginx)"),
            ("a;\n\n# b;\nc d ; # e;\nf;", "1:a() 4:c(d) 5:f()"),
            (
                "http {\n server{ listen 80;}\n}\nx;",
                "1:http(){2:server(){2:listen(80)}} 4:x()",
            ),
            (
                r#"a "b; {" 'c "d' "e\"f" g\;h;"#,
                r#"1:a(b; {|c "d|e"f|g\;h)"#,
            ),
            ("a ${b}c x#y;", "1:a(${b}c|x#y)"),
            (
                "content_by_lua_block { local t = { 1 }; } after 1;",
                "1:content_by_lua_block(){} 1:after(1)",
            ),
            ("a;\n#\u{1}70 beef\nb;\n", "1:a() 72:b()"),
            ("a b", ""),
            ("a \"b", ""),
            ("}} a;", ""),
        ] {
            assert_eq!(shown(&parse(text)), expected, "{text}");
        }
    }
}
