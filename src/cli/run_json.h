/* run_json.h - a run as the JSON object that `froe runs --json` prints. */
#pragma once

#include "admin_private.h"

/* {"run_id","workflow","state","bucket","key","group","child_key","generation","attempts","worker","created_at",
 * "due_at","started_at","ended_at","duration_ms","error","priority","parent","cancel_asked"}. bucket and key are there
 * where the workflow is one of the drain's; a key, child key or generation that is not UTF-8 is NAME_url, percent-
 * encoded. */
json_t *run_json(const froe_run *run);
/* Also "input", "metadata", "result" and "attempt_list": [{"attempt","state","worker","started_at","ended_at",
 * "duration_ms","error","result"}]. */
json_t *run_json_full(const froe_run *run, const froe_attempt *attempts, size_t n);
json_t *run_json_line(const froe_log_line *line); /* {"run_id","time","level","text"} */
