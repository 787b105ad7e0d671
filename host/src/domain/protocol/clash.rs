//! Branches in the way of another: found by their names alone, before anything is made.

/// How one branch keeps another from being made or pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClashKind {
    /// It has this very name.
    Same,
    /// One would have to be a folder of the other: git stores `a/b` below `a`.
    Folder,
    /// They differ by case alone, which this store does not see.
    Case,
}

/// A branch in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash<'a> {
    /// Its name.
    pub existing: &'a str,
    /// How.
    pub kind: ClashKind,
}

/// The first of `existing` that is in the way of `wanted`. With `folds_case`, the store takes upper and lower
/// case for the same, as the file systems of some machines do.
#[must_use]
pub fn clash<'a>(wanted: &str, existing: impl IntoIterator<Item = &'a str>, folds_case: bool) -> Option<Clash<'a>> {
    let folded = wanted.to_lowercase();
    existing.into_iter().find_map(|name| {
        let kind = if name == wanted {
            ClashKind::Same
        } else if is_below(name, wanted) || is_below(wanted, name) {
            ClashKind::Folder
        } else {
            let lower = if folds_case { name.to_lowercase() } else { return None };
            let same = lower == folded || is_below(&lower, &folded) || is_below(&folded, &lower);
            if same { ClashKind::Case } else { return None }
        };
        Some(Clash { existing: name, kind })
    })
}

fn is_below(shorter: &str, longer: &str) -> bool {
    longer.strip_prefix(shorter).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_clash_as_files_and_folders_do() {
        use ClashKind::{Case, Folder, Same};
        let rows: [(&str, &str, bool, Option<ClashKind>); 12] = [
            ("a/b", "a/b", false, Some(Same)),
            ("a/b", "a", false, Some(Folder)),
            ("a", "a/b", false, Some(Folder)),
            ("a/b", "a/b/c", true, Some(Folder)),
            ("a/b", "a/bc", false, None),
            ("a/b", "ab", true, None),
            ("a/b", "A/B", false, None),
            ("a/b", "A/B", true, Some(Case)),
            ("a/b", "A", true, Some(Case)),
            ("a", "A/b", true, Some(Case)),
            ("呪文/é", "呪文/É", true, Some(Case)),
            ("a", "", true, None),
        ];
        for (wanted, existing, folds, kind) in rows {
            let found = clash(wanted, ["main", existing], folds);
            assert_eq!(found.map(|clash| clash.kind), kind, "{wanted} beside {existing}");
        }
    }
}
