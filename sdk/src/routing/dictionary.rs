//! The words that name each role. A line is a concept: it counts once, in whatever form it occurs.
//! Forms are lower case, with a space for a hyphen; a plural s is understood.

/// A role and its concepts.
type Role = (&'static str, &'static [&'static str]);

/// Roles in the order that decides between equal points.
pub(super) const ROLES: &[Role] = &[
    (
        "frontend",
        &[
            "frontend, front end, フロントエンド, フロント",
            "ui, user interface",
            "ux",
            "component, コンポーネント",
            "style, styling, スタイル",
            "css",
            "html",
            "react",
            "vue",
            "angular",
            "button, ボタン",
            "form, フォーム",
            "page, ページ",
            "layout, レイアウト",
            "responsive, レスポンシブ",
            "interface",
            "view, ビュー",
            "screen, 画面",
        ],
    ),
    (
        "backend",
        &[
            "backend, back end, バックエンド",
            "api",
            "endpoint, エンドポイント",
            "server, サーバー, サーバ",
            "logic, business logic, ロジック",
            "service, サービス",
            "rest, restful",
            "graphql",
            "authentication, authenticate, 認証",
            "authorization, authorisation, authorize, 認可",
            "middleware, ミドルウェア",
            "controller, コントローラー",
            "route, ルート",
            "handler, ハンドラー, ハンドラ",
        ],
    ),
    (
        "database",
        &[
            "database, db, データベース",
            "schema, スキーマ",
            "query, queries, クエリ",
            "migration, migrate, マイグレーション",
            "sql, sqlite, postgresql, mysql",
            "nosql, mongodb",
            "table, テーブル",
            "collection",
            "index, indexes, indices, インデックス",
            "transaction, トランザクション",
            "model, data model, モデル",
            "entity, entities, エンティティ",
        ],
    ),
    (
        "qa",
        &[
            "qa, quality assurance",
            "bug, バグ",
            "test, testing, tested, test case, テストケース, テスト",
            "quality, 品質",
            "coverage, カバレッジ",
            "unit test, unit testing, ユニットテスト, 単体テスト",
            "integration, integration test, 結合テスト, 統合テスト",
            "e2e, end to end, e2e test",
            "assertion, assert",
            "mock, モック",
            "fixture, フィクスチャ",
        ],
    ),
    (
        "devops",
        &[
            "devops",
            "deploy, deployment, deployed, deploying, デプロイ",
            "docker, dockerfile",
            "ci, continuous integration",
            "cd, continuous delivery, continuous deployment",
            "infrastructure, インフラ",
            "kubernetes, k8s",
            "aws",
            "pipeline, パイプライン",
            "container, コンテナ",
            "orchestration",
            "build, building, ビルド",
            "release, リリース",
        ],
    ),
    (
        "architect",
        &[
            "architect, architecture, アーキテクチャ",
            "design, designing, 設計",
            "technical design, 技術設計",
            "system design, システム設計",
            "tech stack, technology stack, 技術スタック",
            "pattern",
            "structure",
            "scalability, スケーラビリティ",
            "performance",
        ],
    ),
    (
        "documentation",
        &[
            "documentation, document, documenting, doc, ドキュメント, 文書",
            "readme",
            "guide, ガイド",
            "markdown",
            "steering",
            "reorganize, reorganise, 整理",
            "consolidate, 統合",
            "cross reference, クロスリファレンス",
            "reference, リファレンス",
            "manual, マニュアル",
            "tutorial, チュートリアル",
            "eliminate redundancy, redundancy, 重複",
            "hierarchy",
            "navigation",
            "technical writing",
        ],
    ),
];

/// Whether the dictionary knows this role.
pub(super) fn is_role(name: &str) -> bool {
    ROLES.iter().any(|(role, _)| *role == name)
}
