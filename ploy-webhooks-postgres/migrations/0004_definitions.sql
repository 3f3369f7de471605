-- What operators define by name. The text is whatever there is, NUL too, which `text` is not.
CREATE TABLE definitions (
    workspace uuid   NOT NULL,
    kind      text   COLLATE "C" NOT NULL,
    name      text   COLLATE "C" NOT NULL,
    revision  bigint NOT NULL,
    body      bytea  NOT NULL,
    PRIMARY KEY (workspace, kind, name)
);
