package convert

import (
	"math"

	"github.com/adafire/adafire/internal/parallel"
)

// ridgeSystem is a regression of n outputs on k inputs:
//
//	(square + lambda*I) solution = product + lambda*old
type ridgeSystem struct {
	k, n     int
	square   []float64 // [k][k], symmetric
	product  []float64 // [k][n]
	old      []float64 // [k][n]
	factor   []float64 // [k][k], lower triangle
	solution []float64 // [k][n]
}

func newRidgeSystem(k, n int) *ridgeSystem {
	return &ridgeSystem{k: k, n: n, square: make([]float64, k*k), product: make([]float64, k*n), old: make([]float64, k*n)}
}

// solve sets the solution for a ridge relative to the mean of the diagonal, and
// says whether there is one in float64: not if the matrix is not positive
// definite beyond rounding.
func (s *ridgeSystem) solve(pool *parallel.Pool, ridge float64) bool {
	k, n := s.k, s.n
	trace := 0.0
	for i := range k {
		trace += s.square[i*k+i]
	}
	lambda := ridge * trace / float64(k)
	if s.factor == nil {
		s.factor, s.solution = make([]float64, k*k), make([]float64, k*n)
	}
	copy(s.factor, s.square)
	for i := range k {
		s.factor[i*k+i] += lambda
	}
	if !cholesky(pool, s.factor, k) {
		return false
	}
	for i, v := range s.product {
		s.solution[i] = v + lambda*s.old[i]
	}
	// L L^T solution = right side, for a few columns at a time.
	pool.Chunks(n, 8, func(lo, hi int) {
		for i := range k {
			row := s.solution[i*n : (i+1)*n]
			for j, l := range s.factor[i*k : i*k+i] {
				for c := lo; c < hi; c++ {
					row[c] -= l * s.solution[j*n+c]
				}
			}
			for c := lo; c < hi; c++ {
				row[c] /= s.factor[i*k+i]
			}
		}
		for i := k - 1; i >= 0; i-- {
			row := s.solution[i*n : (i+1)*n]
			for c := lo; c < hi; c++ {
				row[c] /= s.factor[i*k+i]
			}
			for j, l := range s.factor[i*k : i*k+i] {
				for c := lo; c < hi; c++ {
					s.solution[j*n+c] -= l * row[c]
				}
			}
		}
	})
	return true
}

// cholesky replaces the lower triangle of the symmetric matrix a [n][n] by its
// factor L with L L^T = a; the rest is left as it is. It returns false if a is
// not positive definite. Rows are worked on in blocks of columns, so that what
// one row needs of the others stays in the cache; the order of every sum depends
// on n only.
func cholesky(pool *parallel.Pool, a []float64, n int) bool {
	const block = 48
	for lo := 0; lo < n; lo += block {
		hi := min(lo+block, n)
		for j := lo; j < hi; j++ { // the block on the diagonal
			row := a[j*n : j*n+j+1]
			for c := lo; c <= j; c++ {
				v := row[c] - dot(row[:c], a[c*n:c*n+c])
				if c < j {
					row[c] = v / a[c*n+c]
					continue
				}
				if !(v > 0) || math.IsInf(v, 0) {
					return false
				}
				row[c] = math.Sqrt(v)
			}
		}
		pool.Chunks(n-hi, 16, func(from, to int) { // the rows below
			for i := hi + from; i < hi+to; i++ {
				row := a[i*n : i*n+hi]
				for c := lo; c < hi; c++ {
					row[c] = (row[c] - dot(row[:c], a[c*n:c*n+c])) / a[c*n+c]
				}
			}
		})
	}
	return true
}

// dot is the inner product in four interleaved sums.
func dot(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + (s2 + s3)
}
