"""What is found in a change: lines that say that somebody meant to come back to them."""

from wit_world import exports
from wit_world.exports import review
from wit_world.exports.review import Finding, HeuristicInfo, LineKind, Rule, Severity

MARK = "FIXME"


class Review(exports.Review):
    def describe(self):
        return HeuristicInfo("{{name}}", [Rule("left-over", Severity.WARN, f"lines that say {MARK}")])

    def review(self, change, settings):
        findings = []
        for file in change.files:
            for hunk in file.hunks:
                new = [line for line in hunk.lines if line.kind != LineKind.REMOVED]
                for number, line in enumerate(new, hunk.new_start):
                    if line.kind == LineKind.ADDED and MARK in line.text:
                        words = f"this line says {MARK}: do it now, or make a task of it"
                        findings.append(Finding("left-over", Severity.WARN, file.path, number, words))
        return findings
