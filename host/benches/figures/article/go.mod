module article

go 1.22
