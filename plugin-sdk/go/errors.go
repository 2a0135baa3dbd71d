package pipehost

import "errors"

// Retryable marks an error of Process: the same record may succeed later, so the pipeline's retry
// applies to it. The marked error may be wrapped again.
func Retryable(err error) error {
	if err == nil {
		return nil
	}
	return &retryable{err}
}

type retryable struct{ error }

func (r *retryable) Unwrap() error { return r.error }

func isRetryable(err error) bool {
	var marked *retryable
	return errors.As(err, &marked)
}
