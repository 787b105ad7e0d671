//! The Necromancer's judgement in fixed rules: what a job asks for, in English and Japanese, and which
//! spirits a plan needs.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::RoleInfo;
use super::graph::{Graph, Problems};
use super::id::{Instance, Role, TaskId};
use super::task::TaskDefinition;

/// Writes requirements and design.
pub const ARCHITECT: &str = "architect";
/// Writes tasks, and takes what nobody else takes.
pub const SCRUM_MASTER: &str = "scrum_master";

/// At most this many bytes of a job are searched for words.
const MAX_SEARCHED_BYTES: usize = 1 << 20;

/// A language that specs are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English; also anything that is not Japanese.
    English,
    /// Japanese.
    Japanese,
}

impl Language {
    /// The language of a text: Japanese when kana stand in it and Japanese characters are at least a
    /// tenth of its letters. Kanji alone may as well be Chinese.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (mut letters, mut japanese, mut kana) = (0_usize, 0_usize, false);
        for c in text.chars().filter(|c| c.is_alphabetic()) {
            letters += 1;
            let is_kana = matches!(c, '\u{3041}'..='\u{30ff}' | '\u{ff66}'..='\u{ff9d}');
            kana |= is_kana;
            japanese += usize::from(is_kana || matches!(c, '\u{3005}' | '\u{3400}'..='\u{9fff}'));
        }
        if kana && japanese * 10 >= letters { Self::Japanese } else { Self::English }
    }

    /// `en` or `ja`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }
}

/// Something that jobs often ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Sign-up, sign-in.
    Authentication,
    /// Updates without asking.
    RealTime,
    /// Dashboards, charts.
    Visualisation,
    /// Sensors, devices.
    InternetOfThings,
    /// Deployment, containers.
    Infrastructure,
}

/// Words of a feature, and the roles that its stories have tasks for.
struct FeatureRule {
    feature: Feature,
    words: &'static [&'static str],
    roles: &'static [&'static str],
}

const FEATURES: [FeatureRule; 5] = [
    FeatureRule {
        feature: Feature::Authentication,
        words: &["auth", "authentication", "authorization", "login", "log in", "sign in", "認証", "ログイン"],
        roles: &["database", "backend", "frontend", "qa"],
    },
    FeatureRule {
        feature: Feature::RealTime,
        words: &["realtime", "real time", "websocket", "websockets", "リアルタイム"],
        roles: &["backend", "frontend", "qa"],
    },
    FeatureRule {
        feature: Feature::Visualisation,
        words: &["dashboard", "dashboards", "chart", "charts", "ダッシュボード", "グラフ"],
        roles: &["frontend", "backend", "database"],
    },
    FeatureRule {
        feature: Feature::InternetOfThings,
        words: &["iot", "sensor", "sensors", "device", "devices", "センサー", "デバイス"],
        roles: &["backend", "database"],
    },
    FeatureRule {
        feature: Feature::Infrastructure,
        words: &["deploy", "deployment", "docker", "kubernetes", "infrastructure", "ci", "デプロイ", "インフラ"],
        roles: &["devops"],
    },
];

/// Words that ask for a role outright.
const ROLES: [(&str, &[&str]); 6] = [
    (
        "frontend",
        &["frontend", "front end", "ui", "html", "css", "react", "vue", "screen", "page", "フロントエンド", "画面"],
    ),
    ("backend", &["backend", "back end", "api", "server", "endpoint", "service", "バックエンド", "サーバー"]),
    ("database", &["database", "db", "sql", "nosql", "schema", "migration", "データベース", "スキーマ"]),
    ("qa", &["qa", "test", "tests", "testing", "coverage", "テスト", "品質"]),
    ("devops", &["devops", "pipeline", "container", "release", "パイプライン"]),
    ("documentation", &["documentation", "docs", "readme", "manual", "tutorial", "ドキュメント", "マニュアル", "文書"]),
];

/// What a job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The language that its spec is to be written in.
    pub language: Language,
    /// Features that its words name.
    pub features: Vec<Feature>,
    /// Roles that it needs, architect and scrum master first; sorted after that. When no word says
    /// anything, a backend and a QA spirit are enough to begin with.
    pub roles: Vec<Role>,
}

/// Reads a job. Latin words count as whole words only ("suite" has no "ui" in it), Japanese words
/// anywhere.
#[must_use]
pub fn profile(job: &str) -> Profile {
    let job = &job[..job.floor_char_boundary(MAX_SEARCHED_BYTES)];
    let text = Searchable::new(job);
    let features: Vec<&FeatureRule> = FEATURES.iter().filter(|f| text.has_any(f.words)).collect();
    let mut names: BTreeSet<&str> = features.iter().flat_map(|f| f.roles).copied().collect();
    names.extend(ROLES.iter().filter(|(_, words)| text.has_any(words)).map(|(role, _)| *role));
    if names.is_empty() {
        names.extend(["backend", "qa"]);
    }
    let roles = [ARCHITECT, SCRUM_MASTER].into_iter().chain(names).filter_map(|name| Role::new(name).ok()).collect();
    Profile { language: Language::of(job), features: features.iter().map(|f| f.feature).collect(), roles }
}

/// A text in which words can be found.
struct Searchable {
    /// Lower case; everything but letters and digits is one space; a space at both ends.
    words: String,
}

impl Searchable {
    fn new(text: &str) -> Self {
        let mut words = String::from(" ");
        for c in text.chars().flat_map(char::to_lowercase) {
            // Japanese has no spaces: "APIの認証" must still show "api" as a word of its own.
            let latin = c.is_ascii_alphanumeric();
            let before = words.chars().next_back().unwrap_or(' ');
            let seam = before != ' ' && before.is_ascii_alphanumeric() != latin;
            if !c.is_alphanumeric() {
                if before != ' ' {
                    words.push(' ');
                }
                continue;
            }
            // Accented letters belong to their Latin word.
            if seam && !is_accented(c) && !is_accented(before) {
                words.push(' ');
            }
            words.push(c);
        }
        words.push(' ');
        Self { words }
    }

    fn has_any(&self, wanted: &[&str]) -> bool {
        wanted.iter().any(|word| {
            if word.is_ascii() { self.words.contains(&format!(" {word} ")) } else { self.words.contains(word) }
        })
    }
}

const fn is_accented(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{24f}')
}

/// The role that a task's `_Skill:_` means: a role's name in any spelling (`Scrum Master`,
/// `scrum-master`), else the first role that has it among its skills.
#[must_use]
pub fn role_of_skill<'a>(skill: &str, roles: &'a [RoleInfo]) -> Option<&'a Role> {
    let plain = |text: &str| text.trim().to_lowercase().replace([' ', '-'], "_");
    let wanted = plain(skill);
    let named = roles.iter().find(|r| r.role.as_str() == wanted);
    named.or_else(|| roles.iter().find(|r| r.skills.iter().any(|s| plain(s) == wanted))).map(|r| &r.role)
}

/// The team for a plan: one scrum master, and for each role as many spirits as the plan's widest wave
/// has tasks for it, at most `max_parallel`. A task without a skill, or with one that nobody has, may
/// be anybody's: it counts for every role that implements. `fixed` sets the number of a role by
/// configuration; 0 leaves it out. Only roles in `roles`, the installed ones, are in a team.
///
/// # Errors
/// [`Problems`] when the plan has no graph.
pub fn team(
    tasks: &[TaskDefinition],
    roles: &[RoleInfo],
    fixed: &BTreeMap<Role, u32>,
    max_parallel: u32,
) -> Result<Vec<Instance>, Problems> {
    let graph = Graph::new(tasks)?;
    let by_id: BTreeMap<&TaskId, &TaskDefinition> = tasks.iter().map(|t| (&t.id, t)).collect();
    let mut width: BTreeMap<&Role, usize> = BTreeMap::new();
    for wave in graph.waves() {
        let mut in_wave: BTreeMap<&Role, usize> = BTreeMap::new();
        let mut anybodys = 0;
        for task in wave.iter().filter_map(|id| by_id.get(*id)).filter(|t| !t.container && !t.done) {
            match task.skill.as_deref().and_then(|skill| role_of_skill(skill, roles)) {
                Some(role) => *in_wave.entry(role).or_default() += 1,
                None => anybodys += 1,
            }
        }
        for info in roles.iter().filter(|r| ![ARCHITECT, SCRUM_MASTER].contains(&r.role.as_str())) {
            *in_wave.entry(&info.role).or_default() += anybodys;
        }
        for (role, count) in in_wave {
            let widest = width.entry(role).or_default();
            *widest = count.max(*widest);
        }
    }
    let count = |role: &Role| -> u32 {
        if let Some(fixed) = fixed.get(role) {
            return *fixed;
        }
        let widest = u32::try_from(width.get(role).copied().unwrap_or(0)).unwrap_or(u32::MAX);
        widest.min(max_parallel.max(1)).max(u32::from(role.as_str() == SCRUM_MASTER))
    };
    let names: BTreeSet<&Role> = roles.iter().map(|r| &r.role).collect();
    Ok(names.into_iter().flat_map(|role| (1..=count(role)).map(|n| Instance::of(role, n))).collect())
}

#[cfg(test)]
mod tests;
