//! The wave graph of a tasks.md: JSON in a code fence, in the shapes that people and tools write.

use serde_json::Value;

use super::diagnostic::Collector;
use super::line::{Document, heading, number};
use super::tasks::HeadingLine;

/// A file with more fences than this is not searched further for its graph.
const MAX_FENCES: usize = 2_000;

/// Waves run one after another, the tasks of a wave at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Line of the fence, from 1.
    pub line: u32,
    /// Task numbers as written, wave by wave.
    pub waves: Vec<Vec<String>>,
    /// Whether Kiro's scheduler would take this shape; otherwise it drops the graph without a word.
    pub kiro_accepts: bool,
}

struct FencedText {
    line: u32,
    text: String,
    in_section: bool,
}

/// The graph of a file: the first fence below a heading about dependencies that holds waves, else the
/// first fence anywhere that does.
pub(super) fn find(document: &Document<'_>, headings: &[HeadingLine], found: &mut Collector) -> Option<Graph> {
    let section = headings.iter().find(|h| {
        let text = h.text.to_lowercase();
        text.contains("dependency graph") || text.contains("依存グラフ") || text.contains("依赖图")
    });
    let fences = fences(document, section.map(|h| h.line));
    for fence in fences.iter().filter(|f| f.in_section).chain(fences.iter().filter(|f| !f.in_section)) {
        if !fence.text.contains("waves") && !fence.in_section {
            continue;
        }
        match serde_json::from_str::<Value>(&fence.text) {
            Ok(value) => {
                if let Some(graph) = read(&value, fence.line, found) {
                    return Some(graph);
                }
            }
            Err(error) if fence.text.trim_start().starts_with('{') => {
                let line = fence.line + u32::try_from(error.line()).unwrap_or(0);
                found.warning(line, "tasks/graph-json", format!("the dependency graph is not JSON: {error}"));
            }
            Err(_) => {}
        }
    }
    if let Some(section) = section {
        found.note(section.line, "tasks/graph-empty", "there is no wave graph that can be read in this section");
    }
    None
}

fn fences(document: &Document<'_>, section: Option<u32>) -> Vec<FencedText> {
    let mut out = Vec::new();
    let mut index = 0;
    let mut in_section = false;
    while index < document.lines.len() && out.len() < MAX_FENCES {
        let line = document.lines[index];
        if !line.fenced {
            if document.raw(index).starts_with(b"#") && heading(&document.text(index)).is_some() {
                in_section = section == Some(number(index));
            }
            index += 1;
            continue;
        }
        let start = index;
        index += 1;
        while index < document.lines.len() && document.lines[index].fenced {
            let closes = closes(document.raw(start), document.raw(index));
            index += 1;
            if closes {
                break;
            }
        }
        let text = if index > start + 1 { document.join(start + 1..index - 1) } else { String::new() };
        out.push(FencedText { line: number(start), text, in_section });
    }
    out
}

/// Whether `line` closes the fence that `opening` began.
fn closes(opening: &[u8], line: &[u8]) -> bool {
    let (opening, line) = (opening.trim_ascii(), line.trim_ascii());
    let Some(marker) = opening.first() else { return true };
    let length = opening.iter().take_while(|b| *b == marker).count();
    line.len() >= length && line.iter().all(|b| b == marker)
}

fn read(value: &Value, line: u32, found: &mut Collector) -> Option<Graph> {
    let waves = value.get("waves")?;
    let Some(entries) = waves.as_array().filter(|w| !w.is_empty()) else {
        found.warning(line, "tasks/graph-shape", "`waves` must be a list that is not empty; the graph is not used");
        return None;
    };
    let mut graph = Graph { line, waves: Vec::with_capacity(entries.len()), kiro_accepts: true };
    let mut dropped_by_kiro: Option<&'static str> = None;
    for entry in entries {
        let tasks = match entry {
            Value::Array(tasks) => {
                dropped_by_kiro = Some("a wave is a list instead of an object");
                tasks.as_slice()
            }
            Value::Object(fields) => {
                if !fields.get("id").is_some_and(Value::is_number) {
                    dropped_by_kiro.get_or_insert("a wave has no numeric `id`");
                }
                fields.get("tasks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
            }
            _ => {
                found.warning(line, "tasks/graph-shape", "a wave is neither an object nor a list; it is left out");
                dropped_by_kiro = Some("a wave is no object");
                continue;
            }
        };
        let mut wave = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task {
                Value::String(id) => wave.push(id.trim().trim_end_matches('.').to_owned()),
                Value::Number(id) => {
                    dropped_by_kiro.get_or_insert("a task is a number instead of a text");
                    wave.push(id.to_string());
                }
                _ => found.warning(line, "tasks/graph-shape", "a task of a wave is neither text nor number"),
            }
        }
        graph.waves.push(wave);
    }
    if let Some(reason) = dropped_by_kiro {
        graph.kiro_accepts = false;
        let message = format!("{reason}: the waves are used here, but Kiro drops such a graph and runs one by one");
        found.warning(line, "tasks/graph-shape", message);
    }
    Some(graph)
}

#[cfg(test)]
mod tests {
    use super::super::tasks::TaskFile;
    use super::*;

    fn graph(json: &str) -> (Option<Graph>, Vec<String>) {
        let text = format!("# P\n- [ ] 1. a\n## Task Dependency Graph\n```json\n{json}\n```\n");
        let file = TaskFile::read(text.as_bytes());
        (file.graph, file.diagnostics.into_iter().map(|d| d.code).collect())
    }

    #[test]
    fn every_shape_in_use_is_read_and_those_that_kiro_drops_are_named() {
        let table = [
            (r#"{"waves":[{"id":0,"tasks":["1.1","3"]},{"id":1,"tasks":["2"]}]}"#, true),
            (r#"{"waves":[{"wave":1,"tasks":["1.1","3"],"description":"x"},{"wave":2,"tasks":["2"]}]}"#, false),
            (r#"{"waves":[["1.1","3"],["2"]]}"#, false),
            (r#"{"waves":[{"tasks":["1.1","3"]},{"tasks":["2"]}]}"#, false),
            (r#"{"waves":[{"id":0,"tasks":[1.1,3]},{"id":1,"tasks":[2]}]}"#, false),
            (
                r#"{"waves":[{"id":0,"name":"n","parallel":true,"tasks":["1.1","3"],"dependsOn":[]},{"id":1,"tasks":["2"]}]}"#,
                true,
            ),
            (r#"{"waves":[{"id":0,"tasks":["1.1","3"],"depends_on":[]},{"id":"1","tasks":["2"]}]}"#, false),
            (r#"{"waves":[{"id":0,"note":"n","tasks":["1.1.","3. "]},{"id":7,"tasks":["2"]}],"more":1}"#, true),
            (r#"{"waves":[{"id":0,"tasks":["1.1","3"]},["2"]]}"#, false),
        ];
        for (json, accepted) in table {
            let (graph, codes) = graph(json);
            let graph = graph.unwrap_or_else(|| panic!("{json}"));
            assert_eq!(graph.waves, [vec!["1.1".to_owned(), "3".to_owned()], vec!["2".to_owned()]], "{json}");
            assert_eq!(graph.kiro_accepts, accepted, "{json}");
            assert_eq!(codes.contains(&"tasks/graph-shape".to_owned()), !accepted, "{json}");
            assert_eq!(graph.line, 4);
        }
    }

    #[test]
    fn a_graph_that_cannot_be_read_is_reported() {
        for (json, code) in [
            ("{\"waves\":[", "tasks/graph-json"),
            ("{\"waves\":[]}", "tasks/graph-shape"),
            ("{\"waves\":3}", "tasks/graph-shape"),
            ("1 --> 2", "tasks/graph-empty"),
            ("", "tasks/graph-empty"),
            ("{\"waves\":{\"0\":[\"1\"]}}", "tasks/graph-shape"),
            ("{\"waves\":[{\"id\":0,\"tasks\":[\"1\"]},]}", "tasks/graph-json"),
            ("{\"tasks\":[\"1\"]}", "tasks/graph-empty"),
        ] {
            let (graph, codes) = graph(json);
            assert_eq!(graph, None, "{json}");
            assert!(codes.contains(&code.to_owned()), "{json}: {codes:?}");
        }
    }

    #[test]
    fn headings_and_text_may_stand_around_the_fence() {
        let graph = "```json\n{\"waves\":[[\"1\"]]}\n```\n";
        for text in [
            format!("## Task Dependency Graph\n{graph}## Tasks\n- [ ] 1. a\n"),
            format!("- [ ] 1. a\n## Task Dependency Graph\n\nIn waves:\n\n{graph}\nMore words.\n\n## Notes\n- x\n"),
            format!("- [ ] 1. a\n## Tasks Dependency Graph (waves)\n\n{graph}"),
            format!("- [ ] 1. a\n### 依存グラフ\n{graph}"),
            format!("- [ ] 1. a\n\n{}", graph.replace('\n', "\r\n")),
        ] {
            let file = TaskFile::read(text.as_bytes());
            assert_eq!(file.graph.map(|graph| graph.waves), Some(vec![vec!["1".to_owned()]]), "{text}");
            assert_eq!(file.items.len(), 1);
        }
    }

    #[test]
    fn a_graph_may_stand_anywhere_and_beside_other_fences() {
        let text = "```\ncode\n```\n```json\n{\"waves\":[[\"1\"]]}\n```\n# P\n- [ ] 1. a\n  ```\n  x\n  ```\n";
        assert_eq!(TaskFile::read(text.as_bytes()).graph.map(|g| g.line), Some(4));
    }
}
