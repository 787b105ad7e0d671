//! What debugging leaves in each language, and which part of a line is code and which a comment.

/// Text in code that gives a left-over away.
pub(crate) struct Mark {
    /// The text; where it begins with a letter, none may stand before it.
    pub(crate) text: &'static str,
    /// Endings of files in which it means that.
    endings: &'static [&'static str],
}

const JS: &[&str] = &["js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts", "vue", "svelte"];
const PY: &[&str] = &["py"];
const RS: &[&str] = &["rs"];
const RB: &[&str] = &["rb"];
const GO: &[&str] = &["go"];
const PHP: &[&str] = &["php"];
const JVM: &[&str] = &["java", "kt", "scala"];
const EX: &[&str] = &["ex", "exs"];
const C: &[&str] = &["cs"];

const fn mark(text: &'static str, endings: &'static [&'static str]) -> Mark {
    Mark { text, endings }
}

/// What stops a program or dumps values and has no other use.
pub(crate) const DEBUGGERS: &[Mark] = &[
    mark("dbg!(", RS),
    mark("debugger;", JS),
    mark("breakpoint()", PY),
    mark("pdb.set_trace(", PY),
    mark("import pdb", PY),
    mark("import ipdb", PY),
    mark("binding.pry", RB),
    mark("byebug", RB),
    mark("binding.irb", RB),
    mark("spew.Dump(", GO),
    mark("runtime.Breakpoint()", GO),
    mark("var_dump(", PHP),
    mark("print_r(", PHP),
    mark("dd(", PHP),
    mark("IEx.pry", EX),
    mark("Debugger.Break()", C),
];
/// Output that may be wanted, and mostly is not.
pub(crate) const PRINTS: &[Mark] = &[
    mark("console.log(", JS),
    mark("console.debug(", JS),
    mark("console.trace(", JS),
    mark("print(\"DEBUG", PY),
    mark("print(f\"DEBUG", PY),
    mark("print(\"debug", PY),
    mark("print(f\"debug", PY),
    mark("print(\"here", PY),
    mark("print(\">>>", PY),
    mark("println!(\"DEBUG", RS),
    mark("println!(\"debug", RS),
    mark("println!(\"here", RS),
    mark("fmt.Println(\"DEBUG", GO),
    mark("fmt.Println(\"debug", GO),
    mark("fmt.Println(\"here", GO),
    mark("System.out.println(", JVM),
    mark("printStackTrace()", JVM),
    mark("IO.inspect(", EX),
    mark("Console.WriteLine(\"DEBUG", C),
];
/// What lets one test run and no other.
pub(crate) const FOCUSED: &[Mark] = &[
    mark("describe.only(", JS),
    mark("it.only(", JS),
    mark("test.only(", JS),
    mark("context.only(", JS),
    mark("suite.only(", JS),
    mark("fdescribe(", JS),
    mark("fit(", JS),
    mark("FDescribe(", GO),
    mark("FIt(", GO),
    mark("FContext(", GO),
    mark("fdescribe ", RB),
    mark("fcontext ", RB),
    mark("focus: true", RB),
];

impl Mark {
    /// Whether the code of a line has it.
    pub(crate) fn is_in(&self, code: &str, ending: &str) -> bool {
        let is_begun = |at: usize| {
            let before = code[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '$' | '@'))
        };
        // A method's own name may have anything in front of its dot.
        let starts_inside = self.text == "printStackTrace()";
        self.endings.contains(&ending) && code.match_indices(self.text).any(|(at, _)| starts_inside || is_begun(at))
    }
}

/// How comments of a language begin. CSS and HTML have debugging aids in none.
fn comment_starts(ending: &str) -> &'static [&'static str] {
    match ending {
        "py" | "rb" | "sh" | "bash" | "zsh" | "toml" | "yaml" | "yml" | "ex" | "exs" | "r" | "pl" | "nix" | "tf"
        | "dockerfile" | "jl" => &["#"],
        "sql" | "lua" | "hs" | "elm" => &["--"],
        "html" | "xml" | "svg" => &["<!--"],
        "vue" | "svelte" => &["//", "<!--", "/*"],
        "php" => &["//", "#", "/*"],
        "clj" | "lisp" | "el" => &[";"],
        "md" | "txt" | "json" | "csv" | "rst" | "adoc" | "" => &[],
        _ => &["//", "/*"],
    }
}

/// Where the comment of a line begins: not within a text in quotes. A line of a block comment is one whole.
fn comment_at(line: &str, ending: &str) -> Option<usize> {
    let starts = comment_starts(ending);
    let indent = line.len() - line.trim_start().len();
    let is_block_line = line[indent..].starts_with("* ") || line[indent..].starts_with("*/");
    if is_block_line && starts.contains(&"/*") {
        return Some(indent);
    }
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if starts.iter().any(|start| line[at..].starts_with(start)) => return Some(at),
            // An apostrophe may be a lifetime or a word's; a quotation mark is none.
            None if c == '"' || c == '`' => quote = Some(c),
            None => {}
        }
    }
    None
}

/// The text of a line's comment.
pub(crate) fn comment_of<'a>(line: &'a str, ending: &str) -> Option<&'a str> {
    let text = &line[comment_at(line, ending)?..];
    Some(text.trim_start_matches(['/', '*', '#', '-', ';', '!']).trim_start_matches("<!--"))
}

/// The code of a line: without its comment, and with only the first word of each text in quotes, so that
/// code in a text is none.
pub(crate) fn code_of(line: &str, ending: &str) -> String {
    let code = &line[..comment_at(line, ending).unwrap_or(line.len())];
    let mut kept = String::with_capacity(code.len());
    let (mut quoted, mut escaped, mut in_first_word) = (false, false, true);
    for c in code.chars() {
        let is_quote = c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        if is_quote {
            quoted = !quoted;
            in_first_word = true;
            kept.push(c);
        } else if !quoted {
            kept.push(c);
        } else {
            in_first_word &= c.is_alphanumeric() || c == '>';
            if in_first_word {
                kept.push(c);
            }
        }
    }
    kept
}
